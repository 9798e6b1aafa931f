"""Import a dataset: our program and plain commands of the same busybox, in the same sandbox."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.measure import Contender, compare, peak_memory, remove
from benchmarks.workplace import workplace
from datapack.bag.manifest import MANIFEST
from datapack.hashing import digest_of
from datapack.image.layers import PROGRAMS
from datapack.oci.image import read_image
from datapack.oci.layout import Layout
from examples.stand_in_base import build as build_stand_in_base
from examples.stand_in_base import debian_busybox, version
from tests.containers.engines import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.workplace import Workplace

COPY = "cp -r /dataset/noise /safe_outputs && sync -f /safe_outputs"
CHECK = f"{COPY} && cd /safe_outputs/noise && sha256sum -c manifest-sha256.txt"
HASH = "cd /dataset/noise && cut -c 67- manifest-sha256.txt | tr '\\n' '\\0' | xargs -0 -P $(nproc) -n 4 sha256sum"


@dataclass(frozen=True)
class Sandbox:
    """An unpacked import image, run by bubblewrap, which starts in milliseconds; an engine takes half a second."""

    root: Path
    outputs: Path
    bag: Path
    digest: str

    @classmethod
    def make(cls, place: Path, base: Path, bag: Path) -> Sandbox:
        """Unpack a base in ``place``, and put the import program and an empty folder for the bag into it."""
        root, outputs = place / "root", place / "outputs"
        layout = Layout(base)
        base = read_image(layout, layout.image(), layout.root)
        with tarfile.open(layout.blob(base.layers[0].digest)) as tar:
            tar.extractall(root, filter="fully_trusted")
        for folder in (root / "dataset" / "noise", root / "safe_outputs", outputs):
            folder.mkdir(parents=True)
        for path, name in PROGRAMS.items():
            shutil.copy(PROJECT / "datapack" / "image" / name, root / path)
        return cls(root, outputs, bag, digest_of((bag / MANIFEST).read_bytes()))

    def contender(self, name: str, line: str) -> Contender:
        """Make a contender from a line for busybox's shell; it starts with an empty destination."""
        # As in a container, the command is process 1: when it ends, all ends, even the import's sleeping heartbeat.
        command = [
            "bwrap",
            "--unshare-all",
            "--as-pid-1",
            "--ro-bind",
            self.root,
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]
        command += ["--ro-bind", self.bag, "/dataset/noise", "--bind", self.outputs, "/safe_outputs", "--clearenv"]
        command += ["--setenv", "PATH", "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin"]
        command += ["--setenv", "DATAPACK_DATASET", "noise@v1", "--setenv", "DATAPACK_DIGEST", self.digest]
        return Contender(name, [*map(str, command), "/bin/sh", "-c", line], self.empty)

    def empty(self) -> None:
        for path in self.outputs.iterdir():
            remove(path)


def bench(count: int, repeats: int) -> None:
    """Compare the import with a copy, with hashing on all cores, and with a copy followed by a check.

    The first busybox is that of Alpine 3.22, the second the oldest that is supported: it hashes without the
    processor's own instructions for it.
    """
    with workplace(count) as place:
        place.fetch()
        for release, limit in (("trixie", 1.15), ("bookworm", 1.25)):
            _bench(place, release, limit, repeats)


def _bench(place: Workplace, release: str, limit: float, repeats: int) -> None:
    busybox = debian_busybox(release)
    folder = place.root / release
    build_stand_in_base(folder / "base", busybox)
    sandbox = Sandbox.make(folder, folder / "base", place.bag)
    ours = sandbox.contender("import", "import")
    copy = sandbox.contender("cp -r, then sync", COPY)
    hashing = sandbox.contender("sha256sum of all files, on all cores", HASH)
    both = sandbox.contender("cp -r && sync && sha256sum -c", CHECK)
    title = f"Import {place.count} images, all with {version(busybox).partition(' (')[0]}"
    target = "(see below)"
    compare(title, ours, [(copy, target), (hashing, target), (both, "at least 1.1 x")], repeats)
    ratio = ours.seconds / max(copy.seconds, hashing.seconds)
    print(f"  import takes {ratio:.2f} x the slower of copying and hashing (target: at most {limit} x)")
    print(f"  peak memory of all its processes {peak_memory(ours) / 1e6:.0f} MB (target: under 64 MB)", flush=True)
