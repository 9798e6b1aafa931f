"""The outcome of a verification: what is right, or everything that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from datapack.errors import MismatchError, shown
from datapack.image.kinds import RUNNABLE_MEANS
from datapack.image.stand_in import STAND_IN_MEANS
from datapack.text import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from datapack.bag.changes import Difference
    from datapack.reference import Reference


Mode = Literal["quick", "full"]
Scope = Literal["full", "quick", "sizes"]
#: What was checked, in words. Only the first may say "verified".
SCOPES: dict[Scope, str] = {
    "full": "verified, every byte",
    "quick": "complete by names and sizes, no byte was read",
    "sizes": "complete by the sizes of its layers, no file was read",
}
_PROGRAM = " and the import program"
BaseCheck = Literal["compared", "closed", "read", "unread"]
#: What is said of an image's base if it was not compared with the base that the image names.
BASE_CHECKS: dict[BaseCheck, str] = {
    "read": "the base in the image leaves the dataset and the import program alone, but can contain anything else",
    "unread": "the files of the base in the image were not read, and can be anything",
}


@dataclass(frozen=True)
class Verified:
    """A successful verification: where the data is, what was checked, which dataset it is, and how large."""

    where: str
    scope: Scope  # what was checked
    digest: str
    files: int
    bytes: int
    reference: Reference | None = None  # the version that an image names
    image: str = ""  # the image digest
    stand_in: bool = False  # whether the image is for tests and the demo only
    statements: int | None = None  # attached provenance statements; None where none can be attached
    base: str = ""  # an image's base, as the image itself names it
    base_check: BaseCheck = "compared"
    runnable: bool = False  # whether an image is a ready-to-run model, not an import container
    earlier: str = ""  # the datapack that wrote an image's import program, if it was not this one

    def __str__(self) -> str:
        image = f", image {self.image}" if self.image else ""
        amount = f"{counted(self.files, 'file')}, {size(self.bytes)}"
        lines = [f"{SCOPES[self.scope]}: {self.where}: {amount}, {self.digest}{image}"]
        if self.runnable:
            lines.append(f"{RUNNABLE_MEANS}; its program is that of its base, {shown(self.base)}")
        if self.statements is not None:
            lines.append(
                f"provenance: {self.statements} attached, of this image" if self.statements else "no provenance"
            )
        if self.base_check == "closed":
            lines.append("base not unpacked: it is the one that the image names, but its compression is unknown here")
        elif self.base_check in BASE_CHECKS:
            what = f"base not compared: the image names {shown(self.base)}, which is not known here"
            checked = BASE_CHECKS[self.base_check]
            lines.append(f"{what}; {checked.replace(_PROGRAM, '') if self.runnable else checked}")
        if self.earlier:
            lines.append(f"its import program is that of datapack {self.earlier}: build the image again to update it")
        if self.stand_in:
            lines.append(f"not for a Safe Haven: this image is based on {STAND_IN_MEANS}")
        return "\n".join(lines)


def raise_if(difference: Difference, problems: Iterable[str], where: object) -> None:
    """Raise `MismatchError`, with a line per difference and per problem, if there are any."""
    details = (*difference.lines(), *problems)
    if details:
        raise MismatchError(
            "the data does not match its manifest" if difference else "not as datapack would have made it",
            where=where,
            found=difference or counted(len(details), "problem"),
            details=details,
        )
