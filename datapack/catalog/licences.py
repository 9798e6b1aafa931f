"""The licences that a dataset's licence names, with their entries in the SPDX License List; who may have the data."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from datapack.errors import UsageError

if TYPE_CHECKING:
    from license_expression import Licensing

    from datapack.catalog.model import Dataset

#: The licences of SPDX that let everybody pass the data on, for any purpose. Others need a decision of a person.
_OPEN = re.compile(
    r"CC0-1\.0|CC-PDDC|CC-BY(-SA)?-\d\.\d(-[A-Z]+)?|PDDL-1\.0|ODC-By-1\.0|ODbL-1\.0|CDLA-(Permissive|Sharing)-\d\.0"
    r"|OGL-UK-\d\.0|OGL-Canada-2\.0|NLOD-\d\.0|etalab-2\.0|DL-DE-(BY|ZERO)-2\.0"
    r"|MIT(-0)?|ISC|Zlib|0BSD|Unlicense|BSD-[23]-Clause|Apache-2\.0|(A|L)?GPL-\d\.\d-(only|or-later)|MPL-2\.0"
)


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


def may_be_public(dataset: Dataset) -> bool:
    """Whether everybody may have the data: the catalog says so, or says nothing and all its licences allow it."""
    if "private" in dataset.model_fields_set:
        return not dataset.private
    found = licences_of(dataset.licence)
    return bool(found) and all(_OPEN.fullmatch(licence.id) for licence in found)


def undecided(where: str, dataset: Dataset) -> UsageError:
    """Return the error for data that everybody could read although nobody has said that they may."""
    return UsageError(
        "everybody could read the data, and nobody has said that they may",
        where=where,
        expected="a licence that allows it to everybody, such as CC-BY-4.0",
        found=dataset.licence,
        fix="say 'private: true' in the catalog, or 'private: false' if the licence allows it",
    )


@cache
def _licensing() -> Licensing:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()
