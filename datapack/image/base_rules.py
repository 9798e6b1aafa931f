"""The rules of a base: it must not have what an import container has, nor change what the import program runs."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from datapack.image.layers import MOUNTS, PROGRAM
from datapack.oci.filesystem import Filesystem, describe
from datapack.oci.tar import TarError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OURS = ("dataset", *MOUNTS)  # folders of the root
_PRELOADED = "etc/ld.so.preload"  # the loader runs what it names in every program
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Variables that make the loader or a shell run something else, or that the import program reads.
_DANGEROUS = re.compile(
    r"LD_.*|BASH_.*|DATAPACK_.*|BASHOPTS|CDPATH|ENV|GCONV_PATH|GLIBC_TUNABLES|IFS|LOCPATH|PS4|SHELLOPTS"
)


def settings_problems(config: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings that an image has from its base, given the base's config."""
    runtime = config.get("config") or {}
    environment = [line.partition("=") for line in runtime.get("Env") or ()]
    twice = [name for name, count in Counter(name for name, _, _ in environment).items() if count > 1]
    problems = [f"sets {name!a} twice: engines disagree about which one counts" for name in twice]
    for name, equals, _ in environment:
        if not (equals and _NAME.fullmatch(name)):
            problems.append(f"sets {name!a}, which is not a variable")
        elif _DANGEROUS.fullmatch(name):
            problems.append(f"sets {name}, which changes what the import program runs")
    folder = posixpath.normpath(f"/{runtime.get('WorkingDir') or ''}").strip("/")
    if folder.partition("/")[0] in _OURS:  # an engine makes it where it is missing
        problems.append(f"works in {folder!a}")
    return problems


def file_problems(layers: Iterable[Iterable[tuple[str, str, str]]]) -> list[str]:
    """Return what is wrong with a base's files.

    Args:
        layers: the entries of each layer, lowest first, as `Filesystem.apply` takes them.
    """
    files = Filesystem()
    try:
        for layer in layers:
            files.apply(layer)
        return [
            f"has something at /{path}: {describe(node)}"
            for path in (*_OURS, PROGRAM, _PRELOADED)
            if (node := files.find(path)) != {}
        ]
    except TarError as error:
        return [f"can't be unpacked, or not by every engine: {error}"]
