"""The JSON Schema of ``datasets.yml``, for editors and other tools; it ships as ``datasets.schema.json``.

``python -m datapack.catalog.schema`` writes it.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from datapack.catalog.model import Catalog
from datapack.catalog.source_entry import KINDS

# Simple patterns that editors can check in sources; the models check more strictly, and accept nothing else.
_PATH = r"^(?!/)(?!(?:.*/)?\.\.(?:/|$))"
_WEB = r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^\s/]"  # a file's URL may have spaces, which are quoted
_SOURCE_PATTERNS = {
    **dict.fromkeys(("coco", "files", "into", "list", "name"), _PATH),
    **dict.fromkeys(("base", "mirrors", "url"), _WEB),
}


def json_schema() -> str:
    """Return the JSON Schema of ``datasets.yml``."""
    schema = _tidy(Catalog.model_json_schema())
    for kind in KINDS.values():
        for key, value in schema["$defs"][kind.__name__]["properties"].items():
            _add_pattern(value, _SOURCE_PATTERNS.get(key))
    for key in ("local", "run"):
        schema["$defs"][KINDS[key].__name__] |= {
            "if": {"properties": {"outside": {"const": True}}, "required": ["outside"]},
            "else": {"properties": {key: {"pattern": _PATH}}},
        }
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "datapack catalog", **schema}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _tidy(schema: Any) -> Any:
    """Remove titles, which only repeat the keys, and forbid keys that do not match a key pattern."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {key: _tidy(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    return {**tidy, "additionalProperties": False} if "patternProperties" in tidy else tidy


def _add_pattern(schema: dict[str, Any], pattern: str | None) -> None:
    """Add a pattern to every string in a key's value."""
    if pattern is None or "const" in schema:
        return
    if schema.get("type") == "string":
        schema["pattern"] = pattern
    if "additionalProperties" in schema:
        schema["propertyNames"] = {"pattern": pattern}
    for part in (
        *schema.get("anyOf", ()),
        *(schema[key] for key in ("items", "additionalProperties") if key in schema),
    ):
        _add_pattern(part, pattern)


if __name__ == "__main__":
    sys.stdout.write(json_schema())
