"""What the models of the catalog's own keys share: unknown keys are errors, and values do not change."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """Keys and values of the catalog that people write."""

    model_config = ConfigDict(extra="forbid", frozen=True, regex_engine="python-re", str_strip_whitespace=True)
