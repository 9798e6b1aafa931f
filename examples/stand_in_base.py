"""Build a stand-in for the Alpine base from Debian's static busybox. For tests and the demo only.

An image for a Safe Haven is based on the base that the catalog pins by digest. If no registry can be reached, as in
tests, this script makes an image with the same tools in the same places: one uncompressed layer in an OCI layout, the
same bytes each time. Debian trixie has the busybox of Alpine 3.22, 1.37. It is downloaded once, into ``.cache``; where
that fails, the installed busybox replaces it.

    python examples/stand_in_base.py DIR        prints the digest of the image's manifest; the base is then oci:DIR
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[1]
INSTALLED = Path("/bin/busybox")
CREATED = "1970-01-01T00:00:00Z"
LABELS = {
    "datapack.stand-in": "true",
    "org.opencontainers.image.title": "datapack stand-in base (tests and demo only)",
}
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

FOLDERS = {
    **dict.fromkeys(("bin", "dev", "etc", "home", "lib", "mnt", "opt", "proc", "run", "sbin", "srv", "sys"), 0o755),
    **dict.fromkeys(("usr", "usr/bin", "usr/lib", "usr/local", "usr/local/bin", "usr/sbin", "var", "var/log"), 0o755),
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
}
FILES = {
    "etc/group": "root:x:0:\nnobody:x:65534:\n",
    "etc/hostname": "localhost\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/os-release": 'ID=datapack-stand-in\nPRETTY_NAME="datapack stand-in base (tests and demo only)"\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
}


class Blob(NamedTuple):
    """The bytes of one part of the image, with their descriptor."""

    content: bytes
    descriptor: dict[str, object]


def build(directory: Path, busybox: Path | None = None) -> str:
    """Write the base image as an OCI layout and return its manifest's digest.

    Args:
        directory: the layout's folder. It is made where it is missing; parts that are there already are replaced.
        busybox: a static busybox; by default that of Debian trixie, or the installed one.

    Raises:
        FileNotFoundError: there is no static busybox here; the message says how to get it.
    """
    layer = _blob("application/vnd.oci.image.layer.v1.tar", _root_filesystem(busybox or newest_busybox()))
    config = _json_blob("application/vnd.oci.image.config.v1+json", _config(layer))
    manifest = _json_blob(
        "application/vnd.oci.image.manifest.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor,
            "layers": [layer.descriptor],
            "annotations": LABELS,
        },
    )
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for blob in (layer, config, manifest):
        (blobs / str(blob.descriptor["digest"]).removeprefix("sha256:")).write_bytes(blob.content)
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (directory / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [manifest.descriptor]}))
    return str(manifest.descriptor["digest"])


def newest_busybox() -> Path:
    """Return the busybox of Debian trixie, or the installed one if that can't be downloaded."""
    try:
        return debian_busybox("trixie")
    except FileNotFoundError as error:
        if not INSTALLED.exists():
            raise FileNotFoundError(f"{error}, and busybox-static is not installed: {INSTALLED} is missing") from error
        print(f"{error}; the installed busybox replaces it: {version(INSTALLED)}", file=sys.stderr)
        return INSTALLED


def debian_busybox(release: str) -> Path:
    """Return the static busybox of a Debian release; raise `FileNotFoundError` if it can't be downloaded."""
    folder = PROJECT / ".cache" / f"busybox-{release}"
    if not folder.exists():
        command = [PROJECT / "scripts" / "debian-unpack.sh", release, folder, "busybox-static"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise FileNotFoundError(done.stderr.strip())
    return next(path for path in (folder / "usr/bin/busybox", folder / "bin/busybox") if path.exists())


def version(busybox: Path) -> str:
    """Return the first line that a busybox prints about itself, ``BusyBox v1.37.0 ...``."""
    return subprocess.run([busybox], check=True, capture_output=True, text=True).stdout.splitlines()[0]


def _root_filesystem(busybox: Path) -> bytes:
    """Make the only layer: busybox, a link for each of its applets, and the folders and files that programs expect."""
    files = {name: (content.encode(), 0o644) for name, content in FILES.items()}
    files["bin/busybox"] = (busybox.read_bytes(), 0o755)
    links = dict.fromkeys(_applets(busybox), "/bin/busybox")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted({*FOLDERS, *files, *links}, key=str.encode):
            member = tarfile.TarInfo(name)
            content = b""
            if name in FOLDERS:
                member.type, member.mode = tarfile.DIRTYPE, FOLDERS[name]
            elif name in files:
                content, member.mode = files[name]
                member.size = len(content)
            else:
                member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, links[name]
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _applets(busybox: Path) -> list[str]:
    """Ask busybox for the path of each of its applets, such as ``usr/bin/awk``."""
    listing = subprocess.run([busybox, "--list-full"], check=True, capture_output=True, text=True)
    return [path for path in listing.stdout.split() if Path(path).parent.as_posix() in FOLDERS]


def _config(layer: Blob) -> dict[str, object]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": CREATED,
        "config": {"Cmd": ["/bin/sh"], "Env": [f"PATH={SEARCH_PATH}"], "Labels": LABELS},
        "rootfs": {"type": "layers", "diff_ids": [layer.descriptor["digest"]]},
        "history": [{"created": CREATED, "created_by": "datapack: the stand-in base"}],
    }


def _blob(media_type: str, content: bytes) -> Blob:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Blob(content, {"mediaType": media_type, "digest": digest, "size": len(content)})


def _json_blob(media_type: str, value: object) -> Blob:
    return _blob(media_type, _json(value))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main() -> None:
    """Build the stand-in base in the folder named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: stand_in_base.py DIR\nBuilds a stand-in base image, for tests and the demo only, in DIR.")
    try:
        print(build(Path(sys.argv[1])))
    except OSError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
