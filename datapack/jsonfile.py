"""JSON from anywhere: whatever is wrong with it is one error. Duplicate keys are errors."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from datapack.text import size

if TYPE_CHECKING:
    from datapack.errors import DatapackError

LIMIT = 4 << 20  # bytes: larger than any manifest, answer or setting that datapack reads
_DIGITS = 20  # of a whole number: 64 bits
_SHOWN = 40  # characters of a value in an error


def parse_json(content: bytes, where: object, error: type[DatapackError], limit: int | None = LIMIT) -> Any:
    """Parse JSON in UTF-8; raise ``error``, one line, for anything that another reader may understand differently.

    Args:
        content: the JSON text.
        where: where it is from, for the error.
        error: the class to raise.
        limit: the maximum size in bytes; None for a text whose size was checked already.
    """
    if limit is not None and len(content) > limit:
        raise error("too large", where=where, expected=f"at most {size(limit)}", found=size(len(content)))
    try:
        return _parse(content)
    except UnicodeDecodeError as cause:
        raise error("not valid JSON", where=_line(where, content, cause.start), expected="UTF-8") from cause
    except json.JSONDecodeError as cause:
        raise error("not valid JSON", where=f"{where}:{cause.lineno}", found=_reason(cause, content)) from cause
    except RecursionError as cause:
        raise error("not valid JSON", where=where, found="lists or objects nested too deeply") from cause
    except ValueError as cause:
        raise error("not valid JSON", where=where, found=str(cause)) from cause


def _parse(content: bytes) -> Any:
    value = json.loads(
        content.decode("utf-8-sig"),
        parse_constant=_refuse_constant,
        parse_int=_integer,
        parse_float=_number,
        object_pairs_hook=_object,
    )
    if b"\\ud" in content or b"\\uD" in content:  # half of a surrogate pair can't be written to any file
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair, which is no character") from None
    return value


def _line(where: object, content: bytes, position: int) -> str:
    line = content.count(b"\n", 0, position) + 1
    return f"{where}:{line}"


def _reason(cause: json.JSONDecodeError, content: bytes) -> str:
    if not content.strip():
        return "nothing"
    if cause.pos >= len(cause.doc.rstrip()):
        return "the end of the text, where more is expected"
    return repr(cause.doc[cause.pos : cause.pos + _SHOWN])


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no number")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:_SHOWN]}, a number that is too large")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in found if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:_SHOWN]!r} twice")
    return found
