"""What the catalog says for information governance: who owns the data, what it is for, who uses it, and until when.

No key of these changes a dataset digest or an image digest: they are for the record that `datapack ingress` writes.
"""

from __future__ import annotations

import calendar
import datetime
import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from datapack.catalog.about import Text  # noqa: TC001 - pydantic needs it
from datapack.catalog.strict import StrictModel

if TYPE_CHECKING:
    from typing import Self

_PERIOD = re.compile(r"([1-9][0-9]{0,3}) (day|week|month|year)s?")
_MONTHS_OF_A_YEAR = 12


def parse_day(text: str) -> datetime.date:
    """Parse a day as ISO 8601 writes it, 2026-11-28; raise `ValueError` if there is none such."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"not a day, such as 2027-12-31: found {text!r}") from None


def _check_day(text: str) -> str:
    return parse_day(text).isoformat()


def _check_period(text: str) -> str:
    if not _PERIOD.fullmatch(text):
        raise ValueError(f"not a period, such as 3 years, 18 months or 90 days: found {text!r}")
    return text


class Retention(StrictModel):
    """How long the data may stay in the Trusted Research Environment."""

    until: Annotated[str, AfterValidator(_check_day)] | None = Field(
        None,
        description="the day on which the data must be gone, such as 2027-12-31; either this or 'period' is required",
    )
    period: Annotated[str, AfterValidator(_check_period)] | None = Field(
        None, description="how long it stays after it was received, such as 3 years, 18 months, 12 weeks or 90 days"
    )
    reason: Text = Field(description="why then: the agreement, the end of the project, the data owner's terms")

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.until is None) == (self.period is None):
            raise ValueError("give either 'until' or 'period'")
        return self

    def deletion(self, received: datetime.date | None) -> datetime.date | None:
        """Return the day of the expected deletion; None if it depends on a day of arrival that is not known."""
        if self.until:
            return parse_day(self.until)
        match = _PERIOD.fullmatch(self.period or "")
        if received is None or match is None:
            return None
        number, unit = int(match[1]), match[2]
        try:
            if unit in {"day", "week"}:
                return received + datetime.timedelta(days=number * (7 if unit == "week" else 1))
            return _months_after(received, number * (_MONTHS_OF_A_YEAR if unit == "year" else 1))
        except (OverflowError, ValueError):  # after the year 9999
            return datetime.date.max


def _months_after(day: datetime.date, months: int) -> datetime.date:
    """Return the same day some months later, or the last one of that month if it is shorter."""
    year, month = divmod(day.year * _MONTHS_OF_A_YEAR + day.month - 1 + months, _MONTHS_OF_A_YEAR)
    last = calendar.monthrange(year, month + 1)[1]
    return datetime.date(year, month + 1, min(day.day, last))


class Governance(StrictModel):
    """The answers that a dataset gives, or the catalog's defaults for all datasets."""

    owner: Text | None = Field(
        None, description="the data owner, who decides on its use: a name, and an address that answers"
    )
    purpose: Text | None = Field(None, description="what the data is needed for in the Trusted Research Environment")
    projects: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        (), description="the projects that may use the data, by the names that the Trusted Research Environment knows"
    )
    retention: Retention | None = Field(None, description="until when the data may stay there, and why")

    def answers_or(self, others: Governance) -> Governance:
        """Return these answers, and the others' where there is none."""
        answers = {key: getattr(self, key) or getattr(others, key) for key in Governance.model_fields}
        return Governance.model_construct(**answers)  # each was checked where it was read
