"""Debian sid beside this Debian: newer engines, and apptainer, as their own packages install them.

The root file system, 600 MB, is downloaded once, into ``.cache``, in about a minute. Programs run on a copy in memory,
in namespaces of their own. Whatever they start or mount ends with these, also if the tests are killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.containers.engines import PROJECT, need, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE = PROJECT / ".cache"
PACKAGES = (
    *("apptainer", "ca-certificates", "mount", "squashfs-tools", "squashfuse", "util-linux"),
    *("crun", "docker-cli", "docker.io", "netavark", "podman", "runc", "uidmap"),
)
LEFT_OUT = ("doc", "locale", "man")  # of /usr/share: 100 MB
RESEARCHER = 12345  # a user whom only apptainer's machine knows
_FILES = {
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/localtime": "",
    "etc/passwd": f"root:x:0:0:root:/root:/bin/sh\nresearcher:x:{RESEARCHER}:{RESEARCHER}::/home/researcher:/bin/sh\n",
    "etc/group": f"root:x:0:\nresearcher:x:{RESEARCHER}:\n",
}
_ENTER = """
set -eu
root=$1
shift
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs run
for shared; do
    mkdir -p ".$shared"
    mount --bind "$shared" ".$shared"
done
pivot_root . mnt
mount -t proc proc /proc
umount --lazy /mnt
echo ready
exec sleep infinity
"""


@dataclass(frozen=True)
class Machine:
    """A running copy of that Debian. It sees the project and this machine's temporary folder under their own paths."""

    leader: int  # the first process in its namespaces
    namespaces: tuple[str, ...]

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that is to run there."""
        enter = ("nsenter", f"--target={self.leader}", *self.namespaces, "--")
        return (*enter, "setpriv", "--pdeathsig=TERM", "--")  # nsenter does not pass on the signal that ends it


@contextlib.contextmanager
def machine(processes: bool = True) -> Iterator[Machine]:
    """Start that Debian.

    Args:
        processes: it has its own, which end with it. Without, signals reach a command there as they do here.
    """
    namespaces = ("--mount", *(("--pid",) if processes else ()))
    command = [
        "setpriv",
        "--pdeathsig=KILL",
        "unshare",
        *namespaces,
        *(("--fork", "--kill-child") if processes else ()),
    ]
    command += ["--propagation=private", "sh", "-c", _ENTER, "sid", str(_root()), str(PROJECT), tempfile.gettempdir()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                unavailable(f"Debian sid does not start here: {process.communicate()[1].strip()}")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield Machine(int(children) if processes else process.pid, namespaces)
        finally:
            process.kill()


def _root() -> Path:
    """Return the root file system; download it the first time."""
    need("mmdebstrap", "nsenter", "setpriv", "unshare")
    key = hashlib.sha256(repr((PACKAGES, LEFT_OUT, _FILES)).encode()).hexdigest()[:12]
    root = CACHE / f"debian-sid-{key}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other workers wait here
        if not root.exists():
            for old in CACHE.glob("debian-sid-*"):
                shutil.rmtree(old)
            partial = CACHE / f"debian-sid-{key}.partial"
            if failure := _download(partial):
                unavailable(f"Debian sid can't be downloaded: {failure}")
            partial.rename(root)
    return root


@functools.cache  # it fails for all or for none
def _download(root: Path) -> str:
    """Install the packages into a folder; apt checks their signatures. Return why that failed, or nothing."""
    settings = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.writelines(f"{line}\n" for line in settings.splitlines() if line.startswith("Acquire::"))
        file.flush()
        command = ["unshare", "--mount", "--propagation=private"]  # if it is killed, nothing stays mounted
        command += ["mmdebstrap", "--mode=root", "--variant=apt", f"--aptopt={file.name}"]
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
        command += [f"--include={','.join(PACKAGES)}", "sid", str(root)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        shutil.rmtree(root, ignore_errors=True)
        return next((line for line in done.stdout.splitlines() if line.startswith("E: ")), done.stdout[-500:])
    for name, content in _FILES.items():
        (root / name).write_text(content)
    home = root / "home/researcher"
    home.mkdir()
    os.chown(home, RESEARCHER, RESEARCHER)
    return ""
