"""Gathering the record of an ingress: from the catalog, the lock, git, the bag, and the image, verified now."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import datapack
from datapack.bag.bagit import Bag
from datapack.catalog.git import checkout_of, commit_date, first_day_of, last_commit
from datapack.catalog.governance import parse_day
from datapack.catalog.licences import licences_of
from datapack.catalog.lock import Lock
from datapack.catalog.model import Catalog
from datapack.errors import CatalogError, ImageError, MismatchError, UsageError
from datapack.image.kinds import RUNNABLE
from datapack.ingress.answers import Missing, missing_answers, projects_of
from datapack.ingress.evidence import evidence_of, rehearsals_of, sbom_of, sboms_of
from datapack.ingress.image_files import image_files
from datapack.ingress.image_rules import Context, ImageJudge
from datapack.ingress.record import (
    Checks,
    Data,
    Evidence,
    Found,
    GuideResult,
    Image,
    Kept,
    Licence,
    Received,
    Record,
    Rehearsal,
    Scan,
    Software,
    Verification,
)
from datapack.ingress.scan import read_scan
from datapack.ingress.sources import hosts_of, sources_of
from datapack.inspect.check import RULES, check
from datapack.inspect.survey import survey
from datapack.metadata.media_types import media_type
from datapack.oci.archive import Archive
from datapack.oci.image import read_image
from datapack.oci.layout import Layout
from datapack.registry import ImageName, RegistryClient, RemoteImage, Repository
from datapack.signing.keys import read_public_key
from datapack.text import counted
from datapack.verify import verify
from datapack.verify.signatures import locate
from datapack.yamlfile import YamlFile

if TYPE_CHECKING:
    from datapack.catalog.model import Entry
    from datapack.oci.image import Storage, StoredImage
    from datapack.progress import Reporter
    from datapack.reference import Reference
    from datapack.verify import Mode, Verified
    from datapack.verify.signatures import Place
    from datapack.workspace.folder import Workspace

_EARLIEST = datetime.timezone(datetime.timedelta(hours=14))  # where each day begins first


@dataclass(frozen=True)
class Wanted:
    """What the user wants a record of."""

    reference: Reference
    image: str = ""  # by default the version's layout in dist/
    received: str = ""  # the day on which the data was received
    scan: Path | None = None
    sbom: Path | None = None  # by default what lies beside the image, or is attached to it
    keys: tuple[Path, ...] = ()  # public keys of signers that the user trusts
    mode: Mode = "full"
    deep: bool = False
    draft: bool = False  # whether answers may be missing
    insecure: bool = False


@dataclass(frozen=True)
class _Subject:
    """An image that was verified, and where it is."""

    text: str
    path: Path | None  # the layout or archive
    image: StoredImage
    verified: Verified
    place: Place  # of its signatures


def gather(workspace: Workspace, wanted: Wanted, folder: Path, reporter: Reporter) -> Record:
    """Gather the record of a version.

    Args:
        workspace: where the version is.
        wanted: what to make a record of.
        folder: where relative paths of images start.
        reporter: shows progress.

    Raises:
        CatalogError: answers are missing, and it is no draft; ``details`` has a line for each.
        MismatchError: the image or the data is not what it should be: there is no record of such.
        SignatureError: a key is given, and the image or its provenance is not signed with one of the keys.
        UsageError: the image is not of this version.
    """
    if wanted.keys and wanted.mode == "quick":
        fix = "leave out --quick"
        raise UsageError("a signature is of bytes, and a quick check reads none", where="--key", fix=fix)
    keys = [read_public_key(path) for path in wanted.keys]
    entry = Catalog.read(workspace.catalog).entry(wanted.reference)
    received = _received(workspace, wanted)
    missing = tuple(missing_answers(entry, YamlFile.read(workspace.catalog), received))
    if missing and not wanted.draft:
        raise _unanswered(workspace, missing)
    subject = _verify(workspace, wanted, folder, reporter)
    bag = _bag(workspace, wanted.reference, subject.verified.digest)
    scan = read_scan(wanted.scan, _image_id(subject.image)) if wanted.scan else None
    evidence, signatures = evidence_of(workspace, subject.text, subject.path, subject.place, subject.verified, keys)
    evidence += _sboms(workspace, wanted, subject)
    software = _software(workspace)
    rehearsals = tuple(rehearsals_of(workspace, wanted.reference, subject.verified.digest))
    return Record(
        **_about(entry, received),
        sources=tuple(sources_of(entry)),
        downloads=tuple(hosts_of(bag)) if bag else (),
        data=_data(subject.verified, bag),
        image=_image(workspace, subject),
        verification=Verification(scope=subject.verified.scope, said=tuple(str(subject.verified).split("\n"))),
        software=software,
        checks=_checks(entry, bag, reporter, deep=wanted.deep),
        scan=scan,
        rehearsals=rehearsals,
        evidence=tuple(evidence),
        signatures=signatures,
        container_guide=_judge(subject, software, rehearsals, scan, evidence),
        blank=tuple(each.key for each in missing),
    )


def _unanswered(workspace: Workspace, missing: tuple[Missing, ...]) -> CatalogError:
    return CatalogError(
        f"the record needs {counted(len(missing), 'answer')} that nobody has given",
        where=workspace.catalog,
        fix="give each as follows, or use --draft for a record with blanks",
        details=tuple(map(str, missing)),
    )


def _received(workspace: Workspace, wanted: Wanted) -> Received | None:
    """Return when the data was received: as the user says, or when its digest came into the lock."""
    if wanted.received:
        try:
            given = parse_day(wanted.received)
        except ValueError as error:
            raise UsageError("not a day", where="--received", expected="2026-11-28", found=wanted.received) from error
        if given > datetime.datetime.now(_EARLIEST).date():
            raise UsageError("a day in the future", where="--received", found=wanted.received)
        return Received(day=given.isoformat(), basis="option")
    locked = Lock.read(workspace.lock).entries.get(wanted.reference)
    day = first_day_of(workspace.lock, locked.digest) if locked else None
    return Received(day=day, basis="lock") if day else None


def _verify(workspace: Workspace, wanted: Wanted, folder: Path, reporter: Reporter) -> _Subject:
    """Verify the image, and read its configuration from where it was verified."""
    default = workspace.dist(wanted.reference)
    if not wanted.image and not default.is_dir():
        fix = f"build it with 'datapack build {wanted.reference}', or name another with --image"
        raise ImageError("there is no image of the version to make a record of", where=default, fix=fix)
    text = wanted.image or f"oci:{default.relative_to(workspace.root)}"
    start = folder if wanted.image else workspace.root
    if not text.startswith(("oci:", "oci-archive:", "docker://")):
        expected = "oci:DIR, oci-archive:FILE or docker://REGISTRY/NAME:TAG"
        raise UsageError("not an image", where="--image", expected=expected, found=text)
    verified = verify(text, start, workspace, wanted.mode, reporter, insecure=wanted.insecure)
    if verified.reference != wanted.reference:
        raise UsageError(
            "the image is of another version", where=text, expected=wanted.reference, found=verified.reference
        )
    storage, path = _storage(text, start, insecure=wanted.insecure)
    image = read_image(storage, storage.image(), text)
    if image.descriptor.digest != verified.image:
        raise MismatchError("the image changed while it was read", where=text, expected=verified.image)
    _, place = locate(text, start, workspace, verified, insecure=wanted.insecure)
    return _Subject(text, path, image, verified, place)


def _storage(text: str, folder: Path, *, insecure: bool) -> tuple[Storage, Path | None]:
    form, _, name = text.partition(":")
    if form == "oci":
        layout = Layout.at(folder, name)
        return layout, layout.root
    if form == "oci-archive":
        archive = Archive.at(folder, name)
        return archive, archive.path
    found = ImageName.parse(text.removeprefix("docker://"))
    return RemoteImage.find(Repository(RegistryClient(found, insecure=insecure))), None


def _sboms(workspace: Workspace, wanted: Wanted, subject: _Subject) -> list[Evidence]:
    digest = subject.verified.image
    if wanted.sbom:
        return [sbom_of(workspace, wanted.sbom, subject.place, digest)]
    return [*sboms_of(workspace, subject.path, subject.place, digest)]


def _bag(workspace: Workspace, reference: Reference, digest: str) -> Bag | None:
    """Return the bag if it is here; raise `MismatchError` if the image has other data."""
    path = workspace.bag(reference)
    if not path.is_dir():
        return None
    bag = Bag.open(path)
    if bag.manifest.digest != digest:
        what = "the data on this machine is not that of the image"
        fix = f"run 'datapack build {reference}'"
        raise MismatchError(what, where=path, expected=digest, found=bag.manifest.digest, fix=fix)
    return bag


def _about(entry: Entry, received: Received | None) -> dict[str, object]:
    """Return what the catalog says."""
    dataset, answers, requester = entry.dataset, entry.governance, entry.dataset.requested_by
    kept = answers.retention
    day = kept.deletion(parse_day(received.day) if received else None) if kept else None
    return {
        "reference": str(entry.reference),
        **{
            key: getattr(dataset, key)
            for key in ("title", "description", "contact", "publisher", "homepage", "private")
        },
        **{key: getattr(answers, key) for key in ("purpose", "owner")},
        "projects": projects_of(entry),
        "requested_by": "; ".join(filter(None, requester.model_dump().values())) if requester else None,
        "licence": Licence(
            expression=dataset.licence, texts=tuple(licence.url for licence in licences_of(dataset.licence))
        ),
        "received": received,
        "retention": Kept(deletion=day.isoformat() if day else None, period=kept.period, reason=kept.reason)
        if kept
        else None,
    }


def _data(verified: Verified, bag: Bag | None) -> Data:
    types: dict[str, list[int]] = {}
    for path, found in bag.listing.files.items() if bag else ():
        amount = types.setdefault(media_type(path), [0, 0])
        amount[0] += 1
        amount[1] += found.size
    ordered = sorted(types.items(), key=lambda item: (-item[1][0], item[0]))
    return Data(
        digest=verified.digest,
        files=verified.files,
        bytes=verified.bytes,
        types=tuple((name, files, size) for name, (files, size) in ordered),
    )


def _image_id(image: StoredImage) -> str:
    return str(image.manifest["config"]["digest"])


def _image(workspace: Workspace, subject: _Subject) -> Image:
    image, verified = subject.image, subject.verified
    locked = Lock.read(workspace.lock).entries.get(verified.reference) if verified.reference else None
    known = (locked.runnable if verified.runnable else locked.image) if locked else None
    return Image(
        where=subject.text,
        digest=verified.image,
        id=_image_id(image),
        kind="ready-to-run model" if RUNNABLE in image.annotations else "import container",
        platform=f"{image.config['os']}/{image.config['architecture']}",
        layers=len(image.layers),
        bytes=sum(layer.size for layer in image.layers),
        base=verified.base,
        stand_in=verified.stand_in,
        in_lock=known is not None and known.digest == verified.image,
    )


def _software(workspace: Workspace) -> Software:
    commit = last_commit(workspace.catalog)
    return Software(
        datapack=datapack.__version__,
        datapack_commit=checkout_of(Path(datapack.__file__)),
        catalog_commit=commit.id if commit else None,
        catalog_day=commit_date(workspace.catalog, commit.id) if commit else None,
        catalog_changed=commit.changed if commit else None,
        catalog_repository=(commit.remote or None) if commit else None,
    )


def _checks(entry: Entry, bag: Bag | None, reporter: Reporter, *, deep: bool) -> Checks:
    rules = [rule for rule in RULES.values() if deep or not rule.deep]
    if bag is None:
        return Checks(ran=False, rules=0, deep=False, findings=())
    found = check(survey(bag, reporter, folders=entry.image_folders, deep=deep), entry.version.silenced)
    return Checks(
        ran=True,
        rules=len(rules),
        deep=deep,
        findings=tuple(
            Found(
                code=one.rule.code,
                severity=one.rule.severity,
                title=one.rule.title,
                count=one.count,
                accepted=one.silenced or None,
            )
            for one in found
        ),
    )


def _judge(
    subject: _Subject,
    software: Software,
    rehearsals: tuple[Rehearsal, ...],
    scan: Scan | None,
    evidence: list[Evidence],
) -> tuple[GuideResult, ...]:
    context = Context(
        where=subject.text,
        base_compared=subject.verified.scope == "full" and subject.verified.base_check == "compared",
        commit=software.catalog_commit,
        changed=bool(software.catalog_changed),
        rehearsed=rehearsals[0].receipt if rehearsals else "",
        scanned=scan is not None,
        sbom=any(one.kind == "sbom" for one in evidence),
    )
    return ImageJudge(subject.image, image_files(subject.image), context).results()
