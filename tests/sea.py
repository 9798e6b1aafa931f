"""A catalog with a small dataset of dives, from which tests derive others: two COCO files, images, and other files."""

import json
from pathlib import Path

import yaml

from tests.conftest import Catalog, make_base
from tests.servers import png

DIVES, FRAMES = 6, 5
RARE = 7  # the id of the category with one box
INFO = '{"version": 1.50, "note": "\\u0041"}'


def image_rows(kind: str, first: int) -> list[dict[str, object]]:
    """The rows of a list: dives of some frames each, with the dive in the URL."""
    return [
        {
            "id": 3 * (first + number),
            "width": 40 + number % FRAMES,
            "height": 30,
            "file_name": f"{kind} {number}.png",
            "coco_url": f"https://sea.example/Doc%20R/{first + number // FRAMES:04}/00_0{number % FRAMES}_00_00.png",
        }
        for number in range(DIVES * FRAMES)
    ]


def boxes(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Up to three boxes an image; the last image has the only one of the rare category."""
    found = [(row["id"], 1 + (number + more) % 4) for number, row in enumerate(rows) for more in range(number % 4)]
    found.append((rows[-1]["id"], RARE))
    return [
        {"id": at, "image_id": image, "category_id": category, "bbox": [1.0, 2.0, 30.50, 20.0], "iscrowd": 0}
        for at, (image, category) in enumerate(found, start=1)
    ]


def coco_text(rows, annotations=None) -> str:
    """A COCO file whose numbers have the forms that programs write."""
    categories = [{"id": number, "name": f"animal {number}"} for number in (1, 2, 3, 4, RARE, 9)]
    more = "" if annotations is None else f', "annotations": {json.dumps(annotations)}'
    lists = f'"images": {json.dumps(rows)}, "licenses": []{more}, "categories": {json.dumps(categories)}'
    return f'{{"info": {INFO}, {lists}}}'


class Sea(Catalog):
    """The catalog; `add` describes a derived version."""

    def document(self) -> dict:
        return yaml.safe_load((self.root / "datasets.yml").read_text())

    def add(self, name: str, *sources: dict, version: str = "v1", private: bool = True, **keys) -> str:
        """Add a version to the catalog, or replace it; return its reference."""
        document = self.document()
        facts = {"title": "A part of the sea", "licence": "CC-BY-4.0", "private": private}
        dataset = document["datasets"].setdefault(name, {**facts, "versions": {}})
        dataset["versions"][version] = {**keys, "sources": list(sources)}
        (self.root / "datasets.yml").write_text(yaml.safe_dump(document, sort_keys=False))
        return f"{name}@{version}"

    def derive(self, *sources: dict, name: str = "part", **keys) -> Path:
        """Add a version, fetch it, and return its payload."""
        return self.fetch(self.add(name, *sources, **keys))

    def fetch(self, reference: str) -> Path:
        self.ok("fetch", reference)
        return self.payload(reference)

    def payload(self, reference: str) -> Path:
        return self.root / "data" / reference.replace("@", "/") / "data"

    def refuses(self, *sources: dict, status: int = 1, name: str = "part", **keys) -> str:
        """Add a version that can't be fetched; return the error, and check that no half of it is there."""
        reference = self.add(name, *sources, **keys)
        errors = self.fails("fetch", reference, status=status)
        assert not self.payload(reference).exists()
        return next(line for line in errors.splitlines() if line.startswith("error: "))

    def notes(self, reference: str) -> str:
        """Fetch a version, which must succeed; return what it noted."""
        done = self.run("fetch", reference)
        assert done.returncode == 0, done.stderr
        return done.stderr


def make_sea(root: Path) -> Sea:
    """Make the catalog with ``sea@v1``, which is private and not fetched yet."""
    source = root / "source"
    for kind, first in (("train", 0), ("eval", 100)):
        rows = image_rows(kind, first)
        folder = source / "images" / kind
        folder.mkdir(parents=True)
        for row in rows:
            (folder / row["file_name"]).write_bytes(png(row["width"], row["height"], seed=row["id"]))
        (source / f"{kind}.json").write_text(coco_text(rows, boxes(rows) if kind == "train" else None))
    (source / "README.md").write_text("about the sea")
    (source / "images/stray.png").write_bytes(png(9, 9))
    sea = {"title": "The sea", "licence": "CC-BY-4.0", "private": True}
    document = {
        "defaults": {"base": "oci:base", "registry": "ghcr.io/example"},
        "datasets": {"sea": {**sea, "versions": {"v1": {"sources": [{"local": "source"}]}}}},
    }
    (root / "datasets.yml").write_text(yaml.safe_dump(document, sort_keys=False))
    make_base(root / "base")
    return Sea(root)


def read(payload: Path, name: str) -> dict:
    return json.loads((payload / name).read_text())


def names(payload: Path, name: str = "train.json") -> list[str]:
    """The file names of a list's images."""
    return [row["file_name"] for row in read(payload, name)["images"]]


def below(payload: Path) -> set[str]:
    """The paths of all files of a payload."""
    return {path.relative_to(payload).as_posix() for path in payload.rglob("*") if path.is_file()}


def place(path: Path) -> tuple[int, int]:
    """What two names of one file have in common."""
    found = path.stat()
    return found.st_dev, found.st_ino
