"""The arguments for the Docker API: those of the Safe Haven, and those of a rehearsal's options and files."""

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

#: A user and a group without a name. Kubernetes gives a container any uid, together with the project's gid (in the Safe
#: Haven) or gid 0 (in OpenShift). Gid 0 can only do more than this one, so what runs with this runs with either. The
#: number is low enough for the 65,536 users of a rootless engine.
STRANGER = "54321:54321"
GPU_FIX = "rehearse without --gpu, or set up the NVIDIA Container Toolkit where the engine runs"

_ACCOUNTS = ("/etc/passwd", "/etc/group")
_PODMAN_TMPFS = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - where Podman mounts writable memory on a read-only root
_CDI_SINCE = (5, 4)  # the first Podman whose Docker API knows CDI devices; an older one ignores them silently


def with_mounts(
    arguments: Mapping[str, Any], mounts: Mapping[str, tuple[Path, bool]], opt_file: Path | None
) -> dict[str, Any]:
    """Mount folders of this machine: (folder, read-only), by their paths in the container.

    Raises:
        UsageError: a flag of the opt-file mounts something at the same place, which Podman would not report.
    """
    from docker.types import Mount

    taken = {volume.split(":")[1] for volume in arguments.get("volumes", ())} | arguments.get("tmpfs", {}).keys()
    if twice := sorted(taken & mounts.keys()):
        raise UsageError("something else is mounted there", where=opt_file, found=twice[0])
    binds = [
        Mount(target, str(folder), type="bind", read_only=read_only) for target, (folder, read_only) in mounts.items()
    ]
    return {**arguments, "mounts": [*arguments.get("mounts", ()), *binds]}


def limited(arguments: Mapping[str, Any], memory: int, engine: Engine) -> dict[str, Any]:
    """Limit the memory to ``memory`` bytes, without additional swap, as far as the engine supports it."""
    limit = memory if engine.limits_memory else None
    return {**arguments, "mem_limit": limit, "memswap_limit": limit if engine.limits_swap else None}


def strict(arguments: Mapping[str, Any], engine: Engine) -> dict[str, Any]:
    """Remove what a program must not rely on: a writable root, a user with a name, capabilities."""
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
    """Ask for every GPU of this machine; raise `ImageError` if the engine would ignore that silently."""
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
    """Copy the account files of a container's image; return how to mount the copies.

    Unless they are mounted, Podman adds the container's user to them. Kubernetes does not.
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
    """Return the content of the one file in a tar archive; None if it is a link."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as tar:
        member = tar.next()
        file = tar.extractfile(member) if member and member.isfile() else None
        return file.read() if file else None
