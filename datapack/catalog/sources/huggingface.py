"""Files from the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from datapack.catalog.patterns import check_pattern
from datapack.catalog.sources.base import PayloadFolder, Source

_DATASETS = "datasets/"
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPOSITORY = rf"^(?:{_DATASETS})?{_PART}/{_PART}$"
_REVISION = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"
FORMS = {
    _REPOSITORY: "a model as OWNER/NAME, or a dataset as datasets/OWNER/NAME",
    _REVISION: "a commit of 40 hexadecimal digits",
}


class HuggingFaceSource(Source):
    """Files of a model (``owner/name``) or of a dataset (``datasets/owner/name``) at one commit."""

    huggingface: str = Field(pattern=_REPOSITORY, description="a model's owner/name, or datasets/owner/name")
    revision: str = Field(pattern=_REVISION, description="the commit: 40 hexadecimal digits")
    files: tuple[Annotated[str, AfterValidator(check_pattern)], ...] | None = Field(
        None, min_length=1, description="names or patterns of the files to fetch, as in 'exclude'; by default all"
    )
    into: PayloadFolder = Field("", description="the payload folder for the files; by default the payload's top")

    @property
    def is_dataset(self) -> bool:
        return self.huggingface.startswith(_DATASETS)

    @property
    def repository(self) -> str:
        """The owner and the name."""
        return self.huggingface.removeprefix(_DATASETS)

    @property
    def page(self) -> str:
        return f"https://huggingface.co/{self.huggingface}/tree/{self.revision}"
