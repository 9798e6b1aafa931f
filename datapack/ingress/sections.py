"""The record as sections of facts and tables, which the Markdown and the page show in their own ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from datapack.text import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from datapack.ingress.record import Record


class Code(NamedTuple):
    """A digest, a path or a command."""

    text: str


class Link(NamedTuple):
    """An address."""

    url: str


class Blank(NamedTuple):
    """What is to be written by hand."""

    what: str = ""


Value = str | Code | Link | Blank
Values = tuple[Value, ...]  # that stand one below the other


@dataclass(frozen=True)
class Section:
    """A part of the record: facts, or a table with a row for each thing."""

    title: str
    text: str = ""
    facts: Sequence[tuple[str, Values]] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[Values]] = ()


_NOT_KNOWN = "not known"


def sections(record: Record) -> Iterator[Section]:
    """Yield the sections of the record, in the order in which a reviewer reads."""
    yield _about(record)
    yield _sources(record)
    yield _content(record)
    yield _image(record)
    yield _checks(record)
    yield _scan(record)
    yield _evidence(record)
    yield _guide(record)
    yield Section(
        "Approvals",
        "To be written by hand.",
        heads=("Role", "Name", "Date", "Decision"),
        rows=[
            ((one.role,), *((value,) if value else (Blank(),) for value in (one.name, one.date, one.decision)))
            for one in record.approvals
        ],
    )


def _or_blank(value: str | None) -> Values:
    return (value or Blank(),)


def _about(record: Record) -> Section:
    received, kept = record.received, record.retention
    basis = "the first commit of datasets.lock with this data" if received and received.basis == "lock" else ""
    until = (kept.deletion or f"{kept.period} after the data was received") if kept else None
    return Section(
        "The data",
        facts=[
            ("Version", (Code(record.reference),)),
            ("Description", _or_blank(record.description)),
            ("Purpose", _or_blank(record.purpose)),
            ("Projects", record.projects or (Blank(),)),
            *([("Requested by", (record.requested_by,))] if record.requested_by else []),
            ("Data owner", _or_blank(record.owner)),
            ("Contact", (record.contact or "the data owner",)),
            ("Publisher", (record.publisher or _NOT_KNOWN,)),
            ("Licence", (record.licence.expression, *map(Link, record.licence.texts))),
            ("Access", ("private: not everybody may have it" if record.private else "public",)),
            ("Received", ((f"{received.day}, {basis}" if basis else received.day) if received else Blank(),)),
            ("Expected deletion", (until, f"because of: {kept.reason}") if kept and until else (Blank(),)),
        ],
    )


def _sources(record: Record) -> Section:
    rows: list[Sequence[Values]] = [
        (
            (one.kind, Code(one.what)),
            (Link(one.address),) if one.address else ("beside the catalog" if one.kind == "local" else _NOT_KNOWN,),
            (Link(one.terms),) if one.terms else ("the licence",),
        )
        for one in record.sources
    ]
    hosts = "; ".join(f"{one.host} ({counted(one.files, 'file')}, {size(one.bytes)})" for one in record.downloads)
    text = f"Downloaded from {hosts}." if hosts else "No file was downloaded from an address that the bag names."
    facts = [("Web page of the dataset", (Link(record.homepage),))] if record.homepage else []
    return Section("Sources", text, facts=facts, heads=("Source", "Address", "Terms"), rows=rows)


def _content(record: Record) -> Section:
    data = record.data
    return Section(
        "Content",
        facts=[
            ("Dataset digest", (Code(data.digest),)),
            ("Size", (f"{counted(data.files, 'file')}, {size(data.bytes)} ({data.bytes:,} bytes)",)),
        ],
        heads=("Type", "Files", "Size"),
        rows=[((Code(name),), (f"{files:,}",), (size(total),)) for name, files, total in data.types],
    )


def _image(record: Record) -> Section:
    image, software = record.image, record.software
    catalog = software.catalog_commit
    changed = ", changed since" if software.catalog_changed else ""
    facts: list[tuple[str, Values]] = [
        ("Image", (Code(image.where), image.kind)),
        ("Image digest", (Code(image.digest),)),
        ("Image ID", (Code(image.id),)),
        ("Base", (Code(image.base),)),
        ("Platform", (image.platform,)),
        ("Size", (f"{counted(image.layers, 'layer')}, {size(image.bytes)}",)),
        ("In datasets.lock", ("this very image" if image.in_lock else "not this image",)),
        ("Verified", record.verification.said),
        ("datapack", (f"version {software.datapack}", *_commit(software.datapack_commit))),
        ("Catalog", (Code(catalog), f"of {software.catalog_day}{changed}") if catalog else ("not in git",)),
    ]
    if software.catalog_repository:
        facts.append(("Repository", (Code(software.catalog_repository),)))
    text = "Not for a Safe Haven: this image is for trials only." if image.stand_in else ""
    return Section("The image", text, facts=facts)


def _commit(commit: str | None) -> Values:
    if not commit:
        return ("no commit is known: it is an installed package",)
    return (Code(commit.removesuffix("+")), *(("changed since",) if commit.endswith("+") else ()))


def _checks(record: Record) -> Section:
    checks = record.checks
    if not checks.ran:
        return Section("Checks", "Not run: the data was not on the machine that wrote this record.")
    text = f"{checks.rules} rules were checked; {counted(len(checks.findings), 'finding')}."
    text += " Every image was decoded." if checks.deep else " Images were not decoded."
    rows: list[Sequence[Values]] = [
        ((one.code,), (one.severity,), (one.title,), (f"{one.count:,}",), (one.accepted or "not accepted",))
        for one in checks.findings
    ]
    return Section("Checks", text, heads=("Rule", "Severity", "Finding", "Number", "Accepted because"), rows=rows)


def _scan(record: Record) -> Section:
    scan = record.scan
    if scan is None:
        return Section("Scan", "No result of a scan was given.")
    database = scan.database or "none is named"
    is_checked = scan.database or scan.vulnerabilities
    known = _severities(scan.vulnerabilities) if is_checked else "not checked: there was no database of them"
    yes = "yes" if is_checked else "as far as it looked: not for vulnerabilities"
    return Section(
        "Scan",
        facts=[
            ("Tool", (f"{scan.tool} {scan.version or ''}".strip(),)),
            ("Vulnerability database", (database,)),
            ("Vulnerabilities", (known,)),
            ("Misconfigurations", (_severities(scan.misconfigurations),)),
            ("Secrets", (f"{scan.secrets:,}" if scan.secrets else "none in the result",)),
            (
                "Passed",
                ({True: yes, False: "no: do not release this image", None: "the result does not say"}[scan.passed],),
            ),
            ("Result", (Code(scan.file), Code(f"sha256:{scan.sha256}"))),
        ],
        heads=("Exception", "Reason"),
        rows=[((one.id,), (one.reason,)) for one in scan.exceptions],
    )


def _severities(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name.lower()}" for name, number in counts.items()) or "none in the result"


def _evidence(record: Record) -> Section:
    rows: list[Sequence[Values]] = [
        (
            (one.kind.upper() if one.kind == "sbom" else one.kind,),
            (Code(one.file), *((Code(f"sha256:{one.sha256}"),) if one.sha256 else ())),
            (one.said,),
        )
        for one in record.evidence
    ]
    rows += [(("rehearsal",), (Code(one.file),), (one.receipt,)) for one in record.rehearsals]
    text = "" if rows else "Nothing was found beside the image."
    facts: list[tuple[str, Values]] = [
        (f"Signature of the {one.what}", (one.state, *(Code(f"by {key}") for key in one.keys)))
        for one in record.signatures
    ]
    heads = ("What", "File", "What it says")
    return Section("Provenance, signatures and rehearsals", text, facts=facts, heads=heads, rows=rows)


def _guide(record: Record) -> Section:
    counts = {status: sum(one.status == status for one in record.container_guide) for status in ("met", "not met")}
    total = len(record.container_guide)
    text = (
        f"EPCC's container guide, on this image: {counts['met']} of {total} rules are met, {counts['not met']} are "
        f"not, {total - sum(counts.values())} could not be read from it. Each can be checked again."
    )
    rows: list[Sequence[Values]] = [
        ((one.rule,), (one.status,), (one.evidence,), (Code(one.recheck),)) for one in record.container_guide
    ]
    return Section("Container guide", text, heads=("Rule", "Result", "Evidence", "Check again"), rows=rows)
