"""Import a dataset: our program, and what people do with the same busybox, in one and the same sandbox."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.measure import Contender, compare, peak_memory, remove
from benchmarks.workplace import workplace
from datapack.bag.manifest import MANIFEST as MANIFEST
from datapack.hashing import digest_of
from datapack.oci.layout import Layout
from tests.containers.engines import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workplace import Workplace

COPY = "cp -r /dataset/noise /safe_outputs"
HASH = "cd /dataset/noise && cut -c 67- manifest-sha256.txt | tr '\\n' '\\0' | xargs -0 -P $(nproc) -n 4 sha256sum"


@dataclass(frozen=True)
class Sandbox:
    """An import image unpacked, and run by bubblewrap: it starts in milliseconds, an engine takes half a second."""

    root: Path
    outputs: Path
    bag: Path
    digest: str

    @classmethod
    def make(cls, place: Workplace) -> Sandbox:
        """Unpack the stand-in base and give the import program, the bag and an empty folder their places in it."""
        root, outputs = place.root / "root", place.root / "outputs"
        base = Layout(place.root / "base")
        with tarfile.open(base.blob(json.loads(base.read(base.image()))["layers"][0]["digest"])) as tar:
            tar.extractall(root, filter="fully_trusted")
        for folder in (root / "dataset" / "noise", root / "safe_outputs", outputs):
            folder.mkdir(parents=True)
        shutil.copy(PROJECT / "datapack" / "import.sh", root / "usr" / "local" / "bin" / "import")
        return cls(root, outputs, place.bag, digest_of((place.bag / MANIFEST).read_bytes()))

    def contender(self, name: str, line: str) -> Contender:
        """Make a contender of a line for busybox's shell; it begins with an empty destination."""
        command = ["bwrap", "--unshare-all", "--ro-bind", self.root, "/", "--proc", "/proc", "--dev", "/dev"]
        command += ["--ro-bind", self.bag, "/dataset/noise", "--bind", self.outputs, "/safe_outputs", "--clearenv"]
        command += ["--setenv", "PATH", "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"]
        command += ["--setenv", "DATAPACK_DATASET", "noise@v1", "--setenv", "DATAPACK_DIGEST", self.digest]
        return Contender(name, [*map(str, command), "/bin/sh", "-c", line], self.empty)

    def empty(self) -> None:
        for path in self.outputs.iterdir():
            remove(path)


def bench(pictures: int, repeats: int) -> None:
    """Compare the import with a copy, with hashing on all cores, and with a copy and a check one after the other."""
    with workplace(pictures) as place:
        place.fetch()
        sandbox = Sandbox.make(place)
        ours = sandbox.contender("import", "import")
        copy = sandbox.contender("cp -r, then sync", f"{COPY} && sync -f /safe_outputs")
        hashing = sandbox.contender("sha256sum of all files, on all cores", HASH)
        both = sandbox.contender(
            "cp -r && sha256sum -c", f"{COPY} && cd /safe_outputs/noise && sha256sum -c manifest-sha256.txt"
        )
        asked = "at least 0.8 x, for the larger of these two"
        compare(
            f"Import {pictures} pictures, same busybox for all",
            ours,
            [(copy, asked), (hashing, asked), (both, "at least 1.5 x")],
            repeats,
        )
        ratio = ours.seconds / max(copy.seconds, hashing.seconds)
        print(f"  import takes {ratio:.2f} x the larger of copying and hashing (asked: at most 1.25 x)")
        print(f"  peak memory of all its processes {peak_memory(ours) / 1e6:.0f} MB (asked: under 64 MB)", flush=True)
