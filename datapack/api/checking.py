"""The functions that look at something: a bag, an image, what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datapack.api.call import folder_of, interruptible, reference_of, reporter_of, several, workspace_of
from datapack.api.results import Checked, Report, Verified
from datapack.bag.bagit import DECLARATION, Bag
from datapack.catalog.model import Catalog
from datapack.errors import SignatureError, UsageError
from datapack.inspect.check import check as find_faults
from datapack.inspect.check import open_findings
from datapack.inspect.survey import survey
from datapack.report.write import write_report
from datapack.signing.keys import read_public_key
from datapack.verify import verify as verify_content
from datapack.verify.signatures import Signatures, check_signatures, locate
from datapack.workspace.folder import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from datapack.api.call import Place
    from datapack.progress import Reporter
    from datapack.verify.outcome import Verified as Outcome


@interruptible
def verify(
    what: Place,
    *,
    quick: bool = False,
    keys: Place | Iterable[Place] = (),
    signatures: Place | Iterable[Place] = (),
    insecure: bool = False,
    catalog: Place | None = None,
    progress: bool | Reporter = False,
) -> Verified:
    """Check a bag or an image against its manifest, and its signatures, as ``datapack verify`` does.

    Args:
        what: ``name@version``, a bag's folder, ``oci:DIR[:TAG]``, ``oci-archive:FILE[:TAG]`` or ``docker://NAME:TAG``.
        quick: check only names and sizes, instead of every byte.
        keys: files with the signers' public keys: fail unless exactly this was signed with one of them.
        signatures: files with signatures, besides those that are where ``datapack sign`` puts them.
        insecure: accept a registry with plain http or an untrusted certificate.
        catalog: the folder of the catalog, one below it, or its ``datasets.yml``; only ``name@version`` needs one.
            Relative paths start in this folder, by default the current one.
        progress: show notes and progress on standard error; or an object that receives them.

    Raises:
        MismatchError: it differs; ``details`` has a line for each difference, sorted. `SignatureError`, which is one,
            if no signature is by one of the ``keys``.
        DatapackError: it can't be read at all.
    """
    text, folder = os.fspath(what), folder_of(catalog)
    paths = [(folder / path).resolve() for path in several(keys)]
    if paths and quick:
        raise UsageError("a signature is of bytes, and a quick check reads none", where=text, fix="check every byte")
    trusted = [read_public_key(path) for path in paths]
    here = Workspace.find_if_any(folder)
    outcome = verify_content(text, folder, here, "quick" if quick else "full", reporter_of(progress), insecure=insecure)
    try:
        subject, place = locate(text, folder, here, outcome, insecure=insecure)
    except SignatureError:  # a bag without sha256
        if trusted:
            raise
        return _with_signatures(outcome, Signatures(0))
    others = [(folder / path).resolve() for path in several(signatures)]
    return _with_signatures(outcome, check_signatures(text, subject, place, trusted, others))


def _with_signatures(outcome: Outcome, signatures: Signatures) -> Verified:
    return Verified(**vars(outcome), signatures=signatures)


class _Wanted(NamedTuple):
    """What to check: a bag, and what the catalog says about it."""

    bag: Bag
    folders: Mapping[str, str]
    silence: Mapping[str, str]


@interruptible
def check(
    what: Place,
    *,
    deep: bool = False,
    strict: bool = False,
    catalog: Place | None = None,
    progress: bool | Reporter = False,
) -> Checked:
    """Find faults in a dataset that spoil training, and what must not leave, as ``datapack check`` does.

    A finding is no error: look at ``passed`` and ``findings`` of the result.

    Args:
        what: ``name@version``, whose bag is on this machine, or a bag's folder.
        deep: decode every image, to find broken, near-duplicate, blurred and dark ones.
        strict: let the check fail for warnings too.
        catalog: the folder of the catalog, one below it, or its ``datasets.yml``. By default it is looked for in the
            current folder and those above. Relative paths start in this folder.
        progress: show notes and progress on standard error; or an object that receives them.

    Raises:
        DatapackError: there is no such bag, or it can't be read.
    """
    text = os.fspath(what)
    wanted = _find(text, catalog)
    seen = survey(wanted.bag, reporter_of(progress), folders=wanted.folders, deep=deep)
    found = find_faults(seen, wanted.silence)
    return Checked(
        what=text,
        digest=seen.digest,
        passed=not open_findings(found, strict=strict),
        findings=found,
        unused=tuple(sorted(wanted.silence.keys() - {finding.rule.code for finding in found})),
        files=len(seen.files),
        images=len(seen.images),
        coco_files=len(seen.cocos),
        boxes=sum(len(coco.boxes) for coco in seen.cocos),
        tables=len(seen.tables),
        weights=len(seen.weights),
        decoded=len(seen.deep),
    )


def _find(what: str, catalog: Place | None) -> _Wanted:
    """Find the bag: a folder, or the one of a version of the catalog."""
    folder = folder_of(catalog) / what
    if "@" not in Path(what).name or folder.is_dir():
        if not folder.is_dir():
            expected = "name@version, or a bag's folder"
            raise UsageError("neither a version nor a folder", where="WHAT", expected=expected, found=what)
        if not (folder / DECLARATION).exists():
            fix = "give the version too, such as 'datapack check NAME@v1'; 'datapack list' shows all"
            raise UsageError("not a bag", where=what, expected=f"a folder with {DECLARATION}", fix=fix)
        return _Wanted(Bag.open(folder), {}, {})
    here, reference = workspace_of(catalog), reference_of(what)
    entry = Catalog.read(here.catalog).entry(reference)
    path = here.bag(reference)
    if not path.is_dir():
        raise UsageError("not fetched yet", where=reference, fix=f"run 'datapack fetch {reference}' first")
    return _Wanted(Bag.open(path), entry.image_folders, entry.version.silenced)


@interruptible
def report(
    reference: str,
    output: Place | None = None,
    *,
    samples: bool | None = None,
    deep: bool = False,
    catalog: Place | None = None,
    progress: bool | Reporter = False,
) -> Report:
    """Write a page that shows what a fetched version contains and what may be wrong, as ``datapack report`` does.

    Args:
        reference: the version, ``name@version``.
        output: the HTML file; by default ``dist/<name>-<version>.report.html``. Only another report is replaced.
        samples: whether it shows small copies of images; by default unless the data is private or its licence has ND.
        deep: decode every image, for the findings that only pixels show.
        catalog: the folder of the catalog, one below it, or its ``datasets.yml``. By default it is looked for in the
            current folder and those above. Relative paths start in this folder.
        progress: show notes and progress on standard error; or an object that receives them.

    Raises:
        DatapackError: the version is not on this machine, its bag is damaged, or the page can't be written.
    """
    name, here = reference_of(reference), workspace_of(catalog)
    path = (folder_of(catalog) / output).resolve() if output else None
    done = write_report(here, name, path, samples=samples, deep=deep, reporter=reporter_of(progress))
    shown = done.shown
    return Report(str(name), done.path, done.bytes, done.digest, done.findings, len(shown.samples), shown.why_not or "")
