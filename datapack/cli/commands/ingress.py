"""`datapack ingress`: write the record that information governance keeps of a version and its image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import INSECURE, add_command, add_folder, add_reference, console, path_of, short, workspace
from datapack.text import counted

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.cli.output import Line
    from datapack.ingress.record import Record

_EXAMPLES = (
    "datapack ingress reef@v1",
    "datapack ingress reef@v1 --draft                       # with blanks where answers are missing",
    "datapack ingress reef@v1 --received 2026-11-28 --scan scan.json --sbom reef.cdx.json",
    "datapack ingress reef@v1 --image docker://ghcr.io/you/reef:v1",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "ingress",
        run,
        summary="write the record that governance keeps, as Markdown, a page and JSON",
        examples=_EXAMPLES,
    )
    add_reference(parser)
    add_folder(parser, "ingress")
    image = "the image: oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker://... (default: oci:dist/<name>-<version>)"
    parser.add_argument("--image", default="", metavar="IMAGE", help=image)
    received = (
        "the day on which the data was received (default: that of the first commit of datasets.lock with its digest)"
    )
    parser.add_argument("--received", default="", metavar="YYYY-MM-DD", help=received)
    parser.add_argument(
        "--scan",
        type=Path,
        metavar="FILE",
        help="the result of a scan of this very image: what 'make scan' writes, or Trivy's JSON with --show-suppressed",
    )
    parser.add_argument(
        "--sbom",
        type=Path,
        metavar="FILE",
        help="the image's SBOM, CycloneDX or SPDX as JSON (default: the one beside the image, or attached to it in a "
        "registry)",
    )
    key = (
        "a signer's public key, in PEM format: fail unless the image and its provenance are signed with it, or another"
    )
    parser.add_argument("--key", action="append", default=[], type=Path, metavar="PUBLIC.pem", help=key)
    parser.add_argument(
        "--draft", action="store_true", help="write the record with blanks where the catalog lacks an answer"
    )
    parser.add_argument("--deep", action="store_true", help="decode every image for the checks")
    quick = "check only names and sizes of the image; the record says that no byte was read"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--insecure", action="store_true", help=INSECURE)


def run(options: argparse.Namespace) -> Answer:
    """Write the record of a version."""
    from datapack.ingress.gather import Wanted, gather
    from datapack.ingress.write import check_replaceable, write_record
    from datapack.reference import Reference

    place, folder = workspace(options), options.folder.resolve()
    wanted = Wanted(
        Reference.parse(options.reference),
        image=options.image,
        received=options.received,
        scan=path_of(options, "scan"),
        sbom=path_of(options, "sbom"),
        keys=tuple((folder / path).resolve() for path in options.key),
        mode="quick" if options.quick else "full",
        deep=options.deep,
        draft=options.draft,
        insecure=options.insecure,
    )
    with place.exclusive(f"ingress {wanted.reference}"):
        if to := path_of(options, "to"):
            check_replaceable(to)
        record = gather(place, wanted, folder, console(options))
        runnable = record.image.kind == "ready-to-run model"
        to = to or place.ingress(wanted.reference, runnable=runnable)
        written = write_record(record, to)
    return Answer({"folder": str(to), "record": record.model_dump(mode="json")}, _lines(record, written))


def _lines(record: Record, written: list[Path]) -> list[Line]:
    lines: list[Line] = [f"wrote {short(path)}" for path in written]
    guide = record.container_guide
    counts = {status: sum(one.status == status for one in guide) for status in ("met", "not met", "not read")}
    rules = ", ".join(f"{number} {status}" for status, number in counts.items())
    lines.append(f"{record.reference}: {record.data.digest}, image {record.image.digest}")
    lines.append(f"container guide: {rules}; {counted(len(record.checks.findings), 'finding')} of the checks")
    if record.blank:
        lines.append(f"a draft: {counted(len(record.blank), 'blank')} to fill in: {', '.join(record.blank)}")
    return lines
