"""A catalog of three consecutive versions, for the tests of what versions share."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from datapack.oci.image import read_json
from datapack.oci.layout import Layout
from tests.conftest import Catalog

FIRST = {"a/1": b"one " * 400, "a/2": b"two " * 400, "b/1": b"withdrawn " * 300, "b/2": b"four " * 400, "c": b""}
SECOND = {name: content for name, content in FIRST.items() if name != "b/1"} | {"d": b"new " * 400}
THIRD = SECOND | {"e": b"newest " * 400}

IMAGES = {f"images/{n}.png": bytes([n]) * 1600 for n in range(7)}
LABELS = {"eval.json": b'{"images": []}', "train.json": b'{"annotations": []}'}
CORRECTED = LABELS | {"train.json": b'{"annotations": [1]}'}


@dataclass
class Reef(Catalog):
    """A catalog whose versions share layers of about ``layer`` bytes."""

    layer: int = 5500

    @property
    def change(self) -> str:
        """datapack as it is, but for the size of its layers: a few kB are then what half a GB is otherwise."""
        return f"from datapack.build import plan; plan.LAYER_BYTES = {self.layer}"

    def describe(self, **parents: str | None) -> None:
        """Write a catalog with these versions and their parents; each version's files are in the folder of its name."""
        document = yaml.safe_load((self.root / "datasets.yml").read_text())
        document["datasets"]["reef"]["versions"] = {
            version: {**({"parent": parent} if parent else {}), "sources": [{"local": version}]}
            for version, parent in parents.items()
        }
        (self.root / "datasets.yml").write_text(yaml.safe_dump(document, sort_keys=False))

    def write(self, version: str, files: dict[str, bytes]) -> None:
        """Write the files of a version, all with the same time, as in a folder that was copied and then edited."""
        for name, content in files.items():
            path = self.root / version / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def bag(self, version: str) -> Path:
        return self.root / "data/reef" / version

    def layers(self, version: str) -> list[str]:
        """The digests of a built version's layers."""
        layout = Layout(self.root / f"dist/reef-{version}")
        return [layer["digest"] for layer in read_json(layout, layout.image())["layers"]]

    def data(self, version: str) -> list[str]:
        """The digests of its data layers: without those of the base, the program and the tag files."""
        return self.layers(version)[2:-1]

    def blobs(self, version: str) -> bytes:
        """All bytes of its image."""
        return b"".join(path.read_bytes() for path in (self.root / f"dist/reef-{version}/blobs/sha256").iterdir())

    def objects(self) -> set[str]:
        """The content of DVC's cache."""
        found = (path for path in (self.root / ".dvc/cache/files").rglob("*") if path.is_file())
        return {path.parent.name + path.name for path in found}

    @property
    def lock(self) -> dict:
        return yaml.safe_load((self.root / "datasets.lock").read_text())


def make_reef(root: Path) -> Reef:
    """Make `reef@v1`; v2, its child, with one file removed and one added; and v3, the child of v2."""
    reef = Reef(root)
    reef.describe(v1=None, v2="v1", v3="v2")
    for version, files in (("v1", FIRST), ("v2", SECOND), ("v3", THIRD)):
        reef.write(version, files)
    return reef


def make_labelled(root: Path) -> Reef:
    """Make `reef@v1`, images with labels beside them; and v2, its child, with one changed label."""
    reef = Reef(root)
    reef.describe(v1=None, v2="v1")
    for version, labels in (("v1", LABELS), ("v2", CORRECTED)):
        reef.write(version, IMAGES | labels)
    return reef
