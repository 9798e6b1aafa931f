"""`datapack metadata`: describe a version in the standard formats of catalogues, loaders and archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.options import add_command, add_folder, add_reference, console, path_of, short, workspace
from datapack.text import counted, size

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.cli.output import Line
    from datapack.metadata.write import WrittenMetadata

_EXAMPLES = (
    "datapack metadata reef@v1",
    "datapack metadata reef@v1 --sha512  # also read every file, for the crate",
    "datapack metadata reef@v1 --to reef-metadata",
)

_WHAT = {
    "croissant.json": "croissant.json: Croissant 1.1",
    "datacite.json": "datacite.json: DataCite 4.5",
    "crate": "crate/: RO-Crate 1.2 as a BagIt bag",
}


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "metadata",
        run,
        summary="describe a fetched version in standard formats, outside its data",
        examples=_EXAMPLES,
    )
    add_reference(parser)
    add_folder(parser, "metadata")
    parser.add_argument(
        "--sha512",
        action="store_true",
        help="put the sha512 of every file of the payload into the crate: each file is read once, and compared with "
        "the manifest",
    )


def run(options: argparse.Namespace) -> Answer:
    """Write the metadata of a version."""
    from datapack.metadata.write import write_metadata
    from datapack.reference import Reference

    reference, place = Reference.parse(options.reference), workspace(options)
    folder = path_of(options, "to")
    with place.exclusive(f"metadata {reference}"):
        written = write_metadata(place, reference, folder, sha512=options.sha512, reporter=console(options))
    value = {
        "reference": str(reference),
        "digest": written.facts.digest,
        "folder": str(written.folder) if written.files else None,
        "files": list(written.files),
        "record_sets": written.record_sets,
        "five_safes": written.five_safes,
        "verified": written.verified,
        "left_out": written.left_out,
        "missing": [each._asdict() for each in written.missing],
    }
    return Answer(value, _lines(written), status=0 if written.is_complete else 1)


def _lines(written: WrittenMetadata) -> list[Line]:
    facts = written.facts
    folder = short(written.folder) if written.files else "none: answers are missing"
    lines: list[Line] = [
        f"metadata   {folder}",
        f"dataset    {facts.digest}, {counted(facts.files, 'file')}, {size(facts.bytes)}",
        *(f"wrote      {_WHAT[name]}" for name in written.files),
        *(["profile    Five Safes RO-Crate 0.4"] if written.five_safes else []),
    ]
    if written.verified:
        lines.append("verified   every byte of the payload, for its sha512 manifest")
    elif written.files:
        lines.append("not read   files that are neither COCO files nor tables: their checksums are those of the bag")
    if written.left_out:
        lines.append(f"left out   {counted(written.left_out, 'COCO file or table', 'COCO files and tables')}")
    return [*lines, *(f"missing    {each}" for each in written.missing)]
