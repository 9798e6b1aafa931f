"""The licences that a dataset's licence names, with their entries in the SPDX License List."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from license_expression import Licensing


class Licence(NamedTuple):
    """A licence of the SPDX License List."""

    id: str

    @property
    def url(self) -> str:
        return f"https://spdx.org/licenses/{self.id}"


def licences_of(text: str) -> tuple[Licence, ...]:
    """Return the licences of an SPDX expression, in its order; none if it is something else, such as a sentence."""
    from license_expression import ExpressionError

    licensing = _licensing()
    try:
        parsed = licensing.parse(text, validate=True, strict=True)
    except (ExpressionError, IndexError, RecursionError):  # it raises the second for '()'
        return ()
    return tuple(map(Licence, dict.fromkeys(licensing.license_keys(parsed))))


@cache
def _licensing() -> Licensing:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
