"""``--opt-file``: flags of ``podman run``, translated to arguments for the Docker API. Others are refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.errors import UsageError
from datapack.rehearse.settings import parse_bytes, parse_variable, read_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CPU = 1_000_000_000  # one core in the units of the Docker API


@dataclass(frozen=True)
class _Flag:
    """A flag as an argument of ``docker.containers.create``. A list or a dict grows with each flag.

    ``parse`` raises `ValueError` with what the value should be.
    """

    keyword: str
    parse: Callable[[str], Any]
    switch: bool = False  # without a value it means "true"


def read_opt_file(path: Path) -> dict[str, Any]:
    """Read a file of podman's flags; return the arguments for ``docker.containers.create``.

    Raises:
        UsageError: a flag is not among `FLAGS`, or its value is wrong; the error names the line.
    """
    arguments: dict[str, Any] = {}
    for where, name, value in _read_flags(path):
        flag = FLAGS[name]
        try:
            parsed = flag.parse(value)
        except ValueError as error:
            raise UsageError(
                f"wrong value for --{name}", where=where, expected=str(error) or None, found=repr(value)
            ) from error
        match parsed:
            case list():
                arguments.setdefault(flag.keyword, []).extend(parsed)
            case dict():
                arguments.setdefault(flag.keyword, {}).update(parsed)
            case _:
                arguments[flag.keyword] = parsed
    return arguments


def volumes(arguments: Mapping[str, Any]) -> dict[str, Path]:
    """Return the folders of this machine that the flags mount, by their paths in the container."""
    mounts = (volume.split(":") for volume in arguments.get("volumes", ()))
    return {target: Path(source) for source, target, *_ in mounts}


def _read_flags(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each flag of a file: its line, its long name, and its value, which may be the next word."""
    words = read_words(path)
    for number, word in words:
        where = f"{path}:{number}"
        name, value = _split(word)
        if name not in FLAGS:
            raise _unknown(word, where)
        if value is None and not FLAGS[name].switch:
            value = next(words, (number, None))[1]
            if value is None:
                raise UsageError(f"--{name} needs a value", where=where)
        yield where, name, "true" if value is None else value


def _split(word: str) -> tuple[str, str | None]:
    """Return the long name of a flag, and its value if that is in the same word: --x=1, -x=1, -x1."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return _OTHER_NAMES.get(name, name), value if equals else None
    if word.startswith("-") and len(word) > 1:
        return _SHORT.get(word[1], ""), word[2:].removeprefix("=") if len(word) > 2 else None  # noqa: PLR2004 - "-x"
    return "", None


def _unknown(word: str, where: str) -> UsageError:
    from datapack.catalog.validation import nearest

    shown = word.partition("=")[0]
    return UsageError(
        "this flag is not supported" if word.startswith("-") else "not a flag",
        where=where,
        expected=f"one of {', '.join(f'--{name}' for name in sorted(FLAGS))}",
        found=shown,
        fix=nearest(shown, (f"--{name}" for name in FLAGS)),
    )


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise ValueError("true or false")
    return text.lower() in {"true", "1"}


def _cpus(text: str) -> int:
    return cores(float(text) if text.replace(".", "", 1).isdigit() else 0)


def cores(number: float) -> int:
    """Convert a number of cores to the units of the Docker API; raise `ValueError` if it is out of range."""
    if not 0 < number < 1 << 16:
        raise ValueError("a number of cores, such as 2 or 0.5")
    return round(number * CPU)


def _count(text: str) -> int:
    if not text.removeprefix("-").isdigit():
        raise ValueError("a whole number")
    return int(text)


def _no_network(text: str) -> str:
    if text != "none":
        raise ValueError("none: a container in the Safe Haven has no network")
    return text


def _security(text: str) -> list[str]:
    if text.partition("=")[0].partition(":")[0] not in {"no-new-privileges", "label"}:
        raise ValueError("no-new-privileges or label=...")
    return [text]


def _tmpfs(text: str) -> dict[str, str]:
    target, _, options = text.partition(":")
    return {_inside(target): options}


def _label(text: str) -> dict[str, str]:
    key, _, value = text.partition("=")
    return {key: value}


def _ulimit(text: str) -> list[dict[str, Any]]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    if not name or not soft.removeprefix("-").isdigit() or not (hard or soft).removeprefix("-").isdigit():
        raise ValueError("NAME=SOFT[:HARD], such as nofile=1024:2048")
    return [{"name": name, "soft": int(soft), "hard": int(hard or soft)}]


def _entrypoint(text: str) -> list[str]:
    if not text.startswith("["):
        return [text]
    try:
        words = json.loads(text)  # its error is a ValueError
    except RecursionError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("a program, or a JSON list of words")
    return list(words)


def _volume(text: str) -> list[str]:
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    if not (source.startswith("/") and target.startswith("/")):
        raise ValueError("/FOLDER/HERE:/FOLDER/INSIDE[:ro]")
    if not Path(source).exists():
        raise ValueError("an existing file or folder on this machine")
    return [f"{source}:{_inside(target)}:{options or 'rw'}"]


def _inside(target: str) -> str:
    if not target.startswith("/"):
        raise ValueError("a path in the container that starts with /")
    return target.rstrip("/") or "/"


FLAGS = {
    "cap-drop": _Flag("cap_drop", lambda text: text.split(",")),
    "cpus": _Flag("nano_cpus", _cpus),
    "entrypoint": _Flag("entrypoint", _entrypoint),
    "env": _Flag("environment", parse_variable),
    "hostname": _Flag("hostname", str),
    "label": _Flag("labels", _label),
    "memory": _Flag("mem_limit", parse_bytes),
    "network": _Flag("network_mode", _no_network),
    "pids-limit": _Flag("pids_limit", _count),
    "read-only": _Flag("read_only", _boolean, switch=True),
    "security-opt": _Flag("security_opt", _security),
    "shm-size": _Flag("shm_size", parse_bytes),
    "tmpfs": _Flag("tmpfs", _tmpfs),
    "ulimit": _Flag("ulimits", _ulimit),
    "user": _Flag("user", str),
    "volume": _Flag("volumes", _volume),
    "workdir": _Flag("working_dir", str),
}
_OTHER_NAMES = {"net": "network"}
_SHORT = {
    "e": "env",
    "h": "hostname",
    "l": "label",
    "m": "memory",
    "u": "user",
    "v": "volume",
    "w": "workdir",
}
