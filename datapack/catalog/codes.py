"""The codes of findings, which a catalog may name. A test holds them equal to the rules of `datapack.inspect`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from datapack.catalog.validation import nearest

_CODE = "^DP[0-9]{3}$"
FORMS = {_CODE: "a finding's code, such as DP309"}

# The first and the last code of each group.
_RANGES = ((101, 112), (201, 213), (220, 225), (300, 327), (401, 407), (410, 410), (501, 507), (601, 610))
CODES = frozenset(f"DP{number}" for first, last in _RANGES for number in range(first, last + 1))


def _check_code(code: str) -> str:
    """Refuse the code of no rule, and suggest the nearest one."""
    if code not in CODES:
        raise PydanticCustomError(
            "code",
            "{what}",
            {
                "what": "no finding has this code",
                "expected": "a code that 'datapack check' shows, such as DP309",
                "found": repr(code),
                "fix": nearest(code, sorted(CODES)),
            },
        )
    return code


NEEDS_CODE = "DP602"  # weights whose pickle needs code, which `allow_pickle` accepts
#: The code of a finding.
Code = Annotated[str, Field(pattern=_CODE), AfterValidator(_check_code)]
