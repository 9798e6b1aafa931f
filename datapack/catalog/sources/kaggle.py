"""Files from Kaggle."""

from __future__ import annotations

from pydantic import Field

from datapack.catalog.sources.base import PayloadFolder, PayloadPath, Source

_KAGGLE = r"^[\w-]+(/[\w-]+(/versions/[1-9][0-9]*)?)?$"
FORMS = {_KAGGLE: "a competition's name, or a dataset as OWNER/NAME or OWNER/NAME/versions/NUMBER"}


class KaggleSource(Source):
    """Files of a competition (``fathomnet2024``), or of a dataset (``owner/name``, ``owner/name/versions/3``)."""

    kaggle: str = Field(
        pattern=_KAGGLE,
        description="a competition's name, such as fathomnet2024, or a dataset as OWNER/NAME or "
        "OWNER/NAME/versions/NUMBER",
    )
    files: tuple[PayloadPath, ...] = Field(min_length=1, description="the files to fetch")
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")

    @property
    def is_competition(self) -> bool:
        return "/" not in self.kaggle

    @property
    def page(self) -> str:
        return f"https://www.kaggle.com/{'competitions' if self.is_competition else 'datasets'}/{self.kaggle}"
