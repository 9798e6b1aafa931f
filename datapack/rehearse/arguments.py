"""What the Docker API is asked for: the Safe Haven's ways, and what the options and files of a rehearsal add."""

from __future__ import annotations

import io
import re
import tarfile
from typing import TYPE_CHECKING, Any

from datapack.engine import engine_errors
from datapack.errors import ImageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from docker.models.containers import Container

    from datapack.engine import Engine

#: A user and a group without a name. Kubernetes gives a container any uid, and with it the project's gid (in the Safe
#: Haven) or gid 0 (OpenShift's way). Gid 0 may only do more than this one, so what runs with this runs with either. The
#: number is low enough for the 65,536 users of a rootless engine.
STRANGER = "54321:54321"
GPU_FIX = "rehearse without --gpu, or set up the NVIDIA Container Toolkit where the engine runs"

_ACCOUNTS = ("/etc/passwd", "/etc/group")
_PODMAN_TMPFS = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - where Podman puts writable memory on a read-only root
_CDI_SINCE = (5, 4)  # the first Podman whose Docker API has CDI devices; an older one leaves them out in silence


def with_mounts(
    arguments: Mapping[str, Any], mounts: Mapping[str, tuple[Path, bool]], opt_file: Path | None
) -> dict[str, Any]:
    """Add folders of this machine, as (folder, read-only) by where the container sees them.

    Raises:
        UsageError: a flag of the opt-file mounts something at the same place; Podman would not say so.
    """
    from docker.types import Mount

    taken = {volume.split(":")[1] for volume in arguments.get("volumes", ())} | arguments.get("tmpfs", {}).keys()
    if twice := sorted(taken & mounts.keys()):
        raise UsageError("something is mounted there already", where=opt_file, found=twice[0])
    binds = [
        Mount(target, str(folder), type="bind", read_only=read_only) for target, (folder, read_only) in mounts.items()
    ]
    return {**arguments, "mounts": [*arguments.get("mounts", ()), *binds]}


def limited(arguments: Mapping[str, Any], memory: int, engine: Engine) -> dict[str, Any]:
    """Limit the memory to ``memory`` bytes, without swap on top, as far as the engine says that it can."""
    limit = memory if engine.limits_memory else None
    return {**arguments, "mem_limit": limit, "memswap_limit": limit if engine.limits_swap else None}


def strict(arguments: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    """Take away what a container may not count on: a writable root, a user with a name, capabilities."""
    hidden = dict.fromkeys(_PODMAN_TMPFS, "ro") if engine.is_podman else {}
    return {
        **arguments,
        "read_only": True,
        "user": STRANGER,
        "cap_drop": ["ALL"],
        "security_opt": [*arguments.get("security_opt", ()), "no-new-privileges"],
        "tmpfs": {**hidden, **arguments.get("tmpfs", {})},
    }


def with_gpu(arguments: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    """Ask for every GPU of this machine; raise `ImageError` where the engine would not even say that it has none."""
    from docker.types import DeviceRequest

    if not engine.is_podman:
        return {**arguments, "device_requests": [DeviceRequest(count=-1, capabilities=[["gpu"]])]}
    numbers = re.match(r"(\d+)\.(\d+)", engine.version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _CDI_SINCE:
        raise ImageError(
            "this Podman's Docker API can't give a GPU to a container",
            where="--gpu",
            expected="Podman {}.{} or newer, or Docker".format(*_CDI_SINCE),
            found=engine,
        )
    return {**arguments, "device_requests": [DeviceRequest(driver="cdi", device_ids=["nvidia.com/gpu=all"])]}


def copy_accounts(container: Container, folder: Path) -> dict[str, tuple[Path, bool]]:
    """Copy a container's account files as its image has them; return how to mount them there again.

    Podman adds the user that a container runs as to them, unless they are mounted. Kubernetes does not.
    """
    from docker.errors import NotFound

    mounts = {}
    folder.mkdir()
    for path in _ACCOUNTS:
        with engine_errors("the engine can't read a file of the image", where=path):
            try:
                content = _regular_file(container.get_archive(path)[0])
            except NotFound:
                continue
        if content is not None:
            copy = folder / path.rpartition("/")[2]
            copy.write_bytes(content)
            copy.chmod(0o644)
            mounts[path] = (copy, True)
    return mounts


def _regular_file(archive: Iterable[bytes]) -> bytes | None:
    """Return the content of the one file in a tar archive; None where it is a link."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as tar:
        member = tar.next()
        file = tar.extractfile(member) if member and member.isfile() else None
        return file.read() if file else None
