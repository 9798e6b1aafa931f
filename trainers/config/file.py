"""Where `train.yml` is, and errors that name the line of what is wrong in it."""

from __future__ import annotations

import json
import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from datapack.yamlfile import YamlFile
from trainers.config.sections import Config
from trainers.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Kind = TypeVar("Kind", bound=BaseModel)

VARIABLE = "TRAINERS_CONFIG"
DEFAULT = Path("/safe_data/train.yml")

_LONGEST = 80  # characters of a value in an error message


def find(option: Path | None) -> Path:
    """Return the path of the configuration: ``--config``, or `VARIABLE`, or `DEFAULT`."""
    return option or Path(os.environ.get(VARIABLE) or DEFAULT)


def load(path: Path) -> Config:
    """Read a configuration; raise `ConfigError` with a line for every mistake in it."""
    return load_as(Config, path)


def load_as(kind: type[Kind], path: Path, usual: Path = DEFAULT) -> Kind:
    """Read a configuration of this kind; raise `ConfigError` with a line for every mistake in it.

    ``usual`` is where such a file usually is; a missing one is called after it.
    """
    if not path.exists():
        fix = f"put a {usual.name} there, or name another file with --config or {VARIABLE}"
        if not path.parent.is_dir():
            fix = f"mount the folder with your data at {path.parent}"
        raise ConfigError("there is no configuration", where=path, fix=fix)
    file = YamlFile.read(path, ConfigError)
    if not isinstance(file.value, dict):
        raise ConfigError("not a configuration", where=path, expected="keys and values, such as 'digest: sha256:...'")
    try:
        return kind.model_validate(file.value)
    except ValidationError as error:
        mistakes = [_mistake(kind, file, details) for details in error.errors()]
        if len(mistakes) == 1:
            raise mistakes[0] from error
        raise ConfigError(f"{len(mistakes)} mistakes", where=path, details=tuple(map(str, mistakes))) from error


def _mistake(kind: type[BaseModel], file: YamlFile, details: ErrorDetails) -> ConfigError:
    """Turn one of pydantic's errors into ours, with its place in the file."""
    *section, key = map(str, details["loc"])
    where = f"{file.where(details['loc'])}: {'.'.join([*section, key])}"
    found = _shown(details["input"])
    match details["type"]:
        case "extra_forbidden":
            known = list(_section(kind, section).model_fields)
            near = get_close_matches(key, known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else None
            return ConfigError("unknown key", where=where, expected=f"one of {', '.join(known)}", fix=fix)
        case "missing":
            fix = "copy it from the import's output or from datasets.lock" if key == "digest" else None
            expected = _section(kind, section).model_fields[key].description
            return ConfigError("missing: it has no default", where=where, expected=expected, fix=fix)
        case "string_pattern_mismatch":
            return ConfigError("not a dataset digest", where=where, expected="sha256: and 64 hex digits", found=found)
        case _:
            expected = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            expected = expected.replace("a valid tuple", "a list")
            is_plain = details["type"] == "string_type" and isinstance(details["input"], bool | int | float)
            fix = "put it in quotes" if is_plain else None
            return ConfigError("invalid value", where=where, expected=expected, found=found, fix=fix)


def _shown(value: object) -> str:
    """Show a value as YAML writes it, cut off if it is long."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _section(kind: type[BaseModel], keys: list[str]) -> type[BaseModel]:
    """Return the model of the section at ``keys``."""
    section = kind
    for key in keys:
        inner = section.model_fields[key].annotation if key in section.model_fields else None
        section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else section
    return section
