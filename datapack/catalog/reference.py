"""Fill the reference of the catalog, ``docs/reference/catalog.md``: ``python -m datapack.catalog.reference``.

It takes the page on standard input, and replaces what is made from the models.
What it says of a key is what the model has: see `Field` in the modules of this package.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from datapack.catalog.governance import Governance
from datapack.catalog.model import Catalog
from datapack.catalog.source_entry import KINDS
from datapack.catalog.sources import Source
from datapack.markdown import filled, marked, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Schema = dict[str, Any]

_NAMED = {"datasets": "NAME", "versions": "VERSION"}  # what stands for the names that people give
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def parts() -> dict[str, str]:
    """Return the keys of each model, by its name; those of all kinds of sources are one part, ``Source``."""
    schema = Catalog.model_json_schema()
    models: dict[str, Schema] = {"Catalog": schema, **schema["$defs"]}
    places: dict[str, list[str]] = {}
    for name, place in [("Catalog", ""), *_places(models, schema)]:
        places.setdefault(name, []).append(f"`{place}`" if place else "the file itself")
    sources = {model.__name__ for model in KINDS.values()}
    own = {name: model for name, model in models.items() if name not in sources}
    found = {name: f"{_about(model, places[name])}\n{_keys(model)}" for name, model in own.items()}
    (place,) = {where for name in sources for where in places[name]}
    return {**found, "Source": "\n".join(_sources(models, place))}


def _places(models: dict[str, Schema], value: Any, place: str = "", key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name of each model that can stand at a place or below it, with its place."""
    if "$ref" in value:
        name = _model(value)
        yield name, place
        value = models[name]
    for part in (*value.get("anyOf", ()), *value.get("oneOf", ())):
        yield from _places(models, part, place, key)
    for part in value.get("patternProperties", {}).values():
        yield from _places(models, part, f"{place}.{_NAMED[key]}" if key in _NAMED else f"{place}.*", key)
    for name, part in value.get("properties", {}).items():
        yield from _places(models, part, f"{place}.{name}".lstrip("."), name)
    if "items" in value:
        yield from _places(models, value["items"], f"{place}[]", key)


def _about(model: Schema, places: Sequence[str]) -> str:
    return f"{marked(model['description'])}\n\nPlace: {', '.join(places)}\n"


def _model(schema: Schema) -> str:
    return str(schema["$ref"].rpartition("/")[2])


def _sources(models: dict[str, Schema], place: str) -> Iterator[str]:
    """Yield what each kind of source is, then its keys; those that all kinds have come first."""
    yield f"Place: {place}\n"
    about = {key: models[kind.__name__]["description"] for key, kind in KINDS.items()}
    firsts = {key: marked(text.partition(".\n")[0].rstrip(".")) for key, text in about.items()}
    yield table(("kind", "what it fetches"), ((f"[`{key}`](#{key})", first) for key, first in firsts.items()))
    yield f"Every source can have:\n\n{_keys(Source.model_json_schema())}"
    for key, kind in KINDS.items():
        model = models[kind.__name__]
        own = {name: value for name, value in model["properties"].items() if name not in Source.model_fields}
        yield f"### `{key}`\n{marked(about[key])}\n\n{_keys({**model, 'properties': own})}"


def _keys(model: Schema) -> str:
    """Return a table of the keys of a model; those that it shares with other models come last."""
    keys = sorted(model["properties"].items(), key=lambda item: item[0] in Governance.model_fields)
    rows = (
        (f"`{key}`", _value(key, value), _default(key, value, model.get("required", ())), marked(value["description"]))
        for key, value in keys
    )
    return table(("key", "value", "default", "meaning"), rows)


def _default(key: str, schema: Schema, required: Sequence[str]) -> str:
    """Return a default as the catalog would have it."""
    default = schema.get("default")
    if key in required:
        return "required"
    if default in (None, [], {}):
        return "none"
    return f"`{default if default and isinstance(default, str) else json.dumps(default)}`"


def _value(key: str, schema: Schema) -> str:
    """Describe the values that a key can have; further keys have a heading of this name."""
    match schema:
        case {"$ref": _} | {"oneOf": _}:
            return f"[keys](#{key})"
        case {"anyOf": choices}:
            return " or ".join(dict.fromkeys(_value(key, choice) for choice in choices if choice.get("type") != "null"))
        case {"type": "array"}:
            return f"a list of {_value(key, schema['items'])}"
        case {"type": "object"}:
            (value,) = schema.get("patternProperties", {"": schema.get("additionalProperties")}).values()
            return f"names with {_value(key, value)}"
    return _plain(schema)


def _plain(schema: Schema) -> str:
    """Describe one value."""
    if values := schema.get("enum") or [schema[name] for name in ("const",) if name in schema]:
        return ", ".join(f"`{value}`" for value in values)
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    limits = [f"{sign} {schema[name]}" for name, sign in _LIMITS.items() if name in schema]
    return ", ".join([" or ".join(_TYPES[name] for name in types), *limits])


if __name__ == "__main__":
    sys.stdout.write(filled(sys.stdin.read(), parts()))
