"""What the catalog says of a dataset for its metadata: who made it, when, how to cite it, what to know of it."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from datapack.catalog.strict import StrictModel

if TYPE_CHECKING:
    from typing import Self

_ORCID = r"^[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X]$"
_ROR = r"^0[a-hj-km-np-tv-z0-9]{6}[0-9]{2}$"
FORMS = {
    _ORCID: "an ORCID iD, such as 0000-0002-1825-0097",
    _ROR: "the last part of a ROR, such as 01nrxwf90",
}
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
Text = Annotated[str, Field(min_length=1)]


def _check_orcid(text: str) -> str:
    """Check the last digit, which is computed from the others (ISO 7064, MOD 11-2): it finds most typing errors."""
    total = 0
    for digit in text.replace("-", "")[:-1]:
        total = (total + int(digit)) * 2
    if text[-1] != "0123456789X"[(12 - total % 11) % 11]:
        raise ValueError(f"a digit of the ORCID iD is wrong: found {text!r}")
    return text


class Creator(StrictModel):
    """A person or an organisation that made the dataset."""

    person: Text | None = Field(
        None, description="a person's name, as 'Family, Given'; every creator has this or 'organisation'"
    )
    organisation: Text | None = Field(None, description="an organisation's name")
    orcid: Annotated[str, Field(pattern=_ORCID), AfterValidator(_check_orcid)] | None = Field(
        None, description="the person's ORCID iD, such as 0000-0002-1825-0097"
    )
    ror: str | None = Field(
        None, pattern=_ROR, description="the last part of the organisation's ROR (https://ror.org), such as 01nrxwf90"
    )
    affiliation: Text | None = Field(None, description="the organisation that the person belongs to")

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.person is None) == (self.organisation is None):
            raise ValueError("give either 'person' or 'organisation'")
        if self.organisation and (self.orcid or self.affiliation):
            raise ValueError("'orcid' and 'affiliation' are keys of a person")
        if self.person and self.ror:
            raise ValueError("'ror' is a key of an organisation")
        return self

    @property
    def name(self) -> str:
        """The name of either."""
        return self.person or self.organisation or ""


class Requester(StrictModel):
    """The person who asks to bring the dataset into a Trusted Research Environment."""

    person: Text = Field(description="the name, as 'Family, Given'")
    orcid: Annotated[str, Field(pattern=_ORCID), AfterValidator(_check_orcid)] | None = Field(
        None, description="the person's ORCID iD, such as 0000-0002-1825-0097"
    )
    affiliation: Text | None = Field(None, description="the person's organisation")
    project: Text = Field(description="the project there that the person asks for")


def _as_text(value: Any) -> Any:
    """Take a year without quotes as well."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_date(text: str) -> str:
    """Return a year, a month or a day that exists."""
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        datetime.date(int(match[1]), int(match[2] or 1), int(match[3] or 1))
    except ValueError:
        raise ValueError(f"not a date, such as 2024-05-31, 2024-05 or 2024: found {text!r}") from None
    return text


#: A year, a month or a day, as ISO 8601 writes them.
Published = Annotated[
    str, BeforeValidator(_as_text), AfterValidator(_check_date), WithJsonSchema({"type": ["string", "integer"]})
]


class ResponsibleAI(StrictModel):
    """What a user should know before training on the dataset: the questions are those of Croissant's RAI vocabulary."""

    collection: Text | None = Field(None, description="how the data was collected")
    preprocessing: Text | None = Field(None, description="what was done to the data before its release")
    annotation: Text | None = Field(None, description="who labelled the data, and how")
    uses: Text | None = Field(None, description="what the data is meant for, and what not")
    biases: Text | None = Field(None, description="the known biases of the data")
    limitations: Text | None = Field(None, description="the known limits of the data")
    social_impact: Text | None = Field(None, description="what good or harm its use can do to people")
    personal_information: Text | None = Field(
        None, description="which personal or sensitive information it has, or none"
    )
    maintenance: Text | None = Field(None, description="who corrects and renews the data, and how")
