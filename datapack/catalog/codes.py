"""The codes of findings, which a catalog may name. A test holds them equal to the rules of `datapack.inspect`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from datapack.catalog.validation import nearest

_CODE = "^DP[0-9]{3}$"
FORMS = {_CODE: "a finding's code, such as DP309"}

CODES = frozenset(
    (
        "DP300 DP301 DP302 DP303 DP304 DP305 DP306 DP307 DP308 DP309 DP310 DP311 DP312 DP313 DP314 DP315 "
        "DP316 DP317 DP318 DP319 DP320 DP321 DP322 DP323 DP324 DP325 "
        "DP401 DP402 DP403 DP404 DP405 DP406 "
    ).split()
)


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
                "fix": nearest(code, CODES),
            },
        )
    return code


#: The code of a finding.
Code = Annotated[str, Field(pattern=_CODE), AfterValidator(_check_code)]
