"""Print the reference of the configuration for the docs: ``python -m trainers.config``."""

from __future__ import annotations

import json
import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from trainers.config.prediction import Prediction
from trainers.config.sections import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo


def table() -> str:
    """Return the reference in Markdown: tables of the keys of `train.yml`, each section, and `predict.yml`."""
    parts = [_rows(Config)]
    for name, field in Config.model_fields.items():
        if section := _section(field):
            parts.append(f"## `{name}`: {(section.__doc__ or '').rstrip('.')}\n\n{_rows(section)}")
    parts.append(f"## `predict.yml`: {(Prediction.__doc__ or '').rstrip('.')}\n\n{_rows(Prediction)}")
    return "\n".join(parts)


def _rows(section: type[BaseModel]) -> str:
    lines = ["| key | default | values | meaning |", "|---|---|---|---|"]
    lines += _lines(section)
    return "\n".join(lines) + "\n"


def _lines(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if _section(field):
            continue
        default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
        values = _values(field.annotation, field.metadata).replace("|", "\\|")
        description = " ".join((field.description or "").split())
        yield f"| `{name}` | {default} | {values} | {description} |"


def _section(field: FieldInfo) -> type[BaseModel] | None:
    section = field.annotation
    return section if isinstance(section, type) and issubclass(section, BaseModel) else None


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _values(annotation: Any, metadata: list[Any]) -> str:  # an annotation can be anything
    """Describe the values that a type and its limits allow."""
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _values(arguments[0], [*arguments[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in {types.UnionType, Union}:
        return " or ".join("`null`" if part is type(None) else _values(part, metadata) for part in arguments)
    if origin is tuple:
        many = Ellipsis in arguments
        return (
            f"a list of {_values(arguments[0], [])}"
            if many
            else f"a list of {len(arguments)}: {_values(arguments[0], [])}"
        )
    names = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}
    return ", ".join([names[annotation], *_limits(metadata)])


def _limits(metadata: list[Any]) -> Iterator[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for limit in metadata:
        inner = getattr(limit, "metadata", None)
        if inner:
            yield from _limits(inner)
        for name, sign in signs.items():
            if (bound := getattr(limit, name, None)) is not None:
                yield f"{sign} {bound}"


if __name__ == "__main__":
    print(table())  # noqa: T201 - what `make reference` writes
