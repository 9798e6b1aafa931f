"""Where `train.yml` is, and what is wrong in it, with the lines where it stands."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from trainers.config.sections import Config
from trainers.errors import ConfigError

VARIABLE = "TRAINERS_CONFIG"
DEFAULT = Path("/safe_data/train.yml")


def find(option: Path | None) -> Path:
    """Return where the configuration is: ``--config``, or `VARIABLE`, or `DEFAULT`."""
    return option or Path(os.environ.get(VARIABLE) or DEFAULT)


def load(path: Path) -> Config:
    """Read a configuration; raise `ConfigError` with a line for everything that is wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
        node, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except FileNotFoundError as error:
        fix = f"put a train.yml there, or name another file with --config or {VARIABLE}"
        if not path.parent.is_dir():
            fix = f"mount the folder with your data at {path.parent}"
        raise ConfigError("there is no configuration", where=path, fix=fix) from error
    except OSError as error:
        raise ConfigError("can't read the configuration", where=path, found=error.strerror) from error
    except UnicodeDecodeError as error:
        raise ConfigError("not a text in UTF-8", where=path) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError("not YAML", where=f"{path}:{line}", found=error.problem) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError("not YAML", where=path, found=error) from error
    if not isinstance(content, dict):
        raise ConfigError("not a configuration", where=path, expected="keys and values, such as 'digest: sha256:...'")
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        problems = [_problem(path, node, problem) for problem in error.errors()]
        raise ConfigError(
            str(problems[0]) if len(problems) == 1 else f"{path}: {len(problems)} things are wrong",
            details=() if len(problems) == 1 else tuple(map(str, problems)),
        ) from error


def _problem(path: Path, node: yaml.Node | None, problem: Any) -> ConfigError:  # one of pydantic's ErrorDetails
    """Say one thing that pydantic found, where it stands in the file."""
    keys = [str(key) for key in problem["loc"]]
    where = f"{path}:{_line(node, keys)}: {'.'.join(keys)}"
    found = _shown(problem["input"])
    match problem["type"]:
        case "extra_forbidden":
            known = list(_section(keys[:-1]).model_fields)
            near = get_close_matches(keys[-1], known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else None
            return ConfigError("unknown key", where=where, expected=f"one of {', '.join(known)}", fix=fix)
        case "missing":
            fix = "take it from the dataset's import, or from datasets.lock" if keys[-1] == "digest" else None
            expected = _section(keys[:-1]).model_fields[keys[-1]].description
            return ConfigError("missing: it has no default", where=where, expected=expected, fix=fix)
        case "string_pattern_mismatch":
            return ConfigError("not a dataset digest", where=where, expected="sha256: and 64 hex digits", found=found)
        case _:
            expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            return ConfigError("can't be this", where=where, expected=expected, found=found)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line that people read


def _section(keys: list[str]) -> type[BaseModel]:
    """Return the model of the section at ``keys``."""
    section: type[BaseModel] = Config
    for key in keys:
        inner = section.model_fields[key].annotation if key in section.model_fields else None
        section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else section
    return section


def _line(node: yaml.Node | None, keys: list[str]) -> int:
    """Return the line, from 1, of the last of ``keys`` that stands in the file."""
    line = node.start_mark.line + 1 if node else 1
    for key in keys:
        match node:
            case yaml.MappingNode():
                found = next((pair for pair in node.value if pair[0].value == key), None)
            case yaml.SequenceNode() if key.isdigit() and int(key) < len(node.value):
                found = (node.value[int(key)], node.value[int(key)])
            case _:
                found = None
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line
