"""References: ``name@version`` names a version of a dataset everywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass

from datapack.errors import UsageError

# Both parts become folder names, image names and tags, so they may contain what OCI allows in repositories and tags.
NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
# A version must not end in .partial or .dvc: files beside the bag have these endings.
VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(?<!\.partial)(?<!\.dvc)")
# Both in words, for errors.
NAME_FORM = "lower-case letters and digits, with single '.', '_' or '-' between them"
VERSION_FORM = "letters, digits, '.', '_' and '-', such as v1; it can't end in .dvc or .partial"


@dataclass(frozen=True, order=True)
class Reference:
    """One version of one dataset."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse ``name@version``; raise `UsageError` for anything else."""
        name, at, version = text.partition("@")
        if not (at and NAME.fullmatch(name) and VERSION.fullmatch(version)):
            fix = _rule(name, version) if name and version else None
            raise UsageError("not a reference", where=repr(text), expected="name@version, such as fathom24@v1", fix=fix)
        return cls(name, version)


def _rule(name: str, version: str) -> str:
    """Say what a reference breaks that has both parts."""
    if NAME.fullmatch(name):
        return f"{version!r} can't be a version: it must be {VERSION_FORM}"
    return f"{name!r} can't be a name: it must be {NAME_FORM}"
