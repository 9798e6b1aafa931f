"""What a verification says: what was found right, or all that was found wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from datapack.bag.bagit import INFO, OXUM, parse_info
from datapack.errors import MismatchError
from datapack.image.base import STAND_IN_MEANS
from datapack.progress import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from datapack.bag.changes import Difference
    from datapack.reference import Reference


Mode = Literal["quick", "full"]
Looked = Literal["full", "quick", "sizes"]
#: How closely it was looked at, in words. Only the first may say "verified".
LOOKED: dict[Looked, str] = {
    "full": "verified, every byte",
    "quick": "complete by names and sizes, no byte was read",
    "sizes": "complete by the sizes of its layers, no file was looked at",
}


@dataclass(frozen=True)
class Verified:
    """What was found right: where, how it was looked at, which dataset, and how much of it."""

    where: str
    looked: Looked
    digest: str
    files: int
    bytes: int
    reference: Reference | None = None  # the version that an image says it carries
    image: str = ""  # the image digest
    stand_in: bool = False  # an image that is for tests and the demo only
    statements: int | None = None  # how many are attached that say what it was made of, where one can be attached

    def __str__(self) -> str:
        image = f", image {self.image}" if self.image else ""
        lines = [f"{LOOKED[self.looked]}: {self.where}: {self.files:,} files, {size(self.bytes)}, {self.digest}{image}"]
        if self.statements is not None:
            lines.append(
                f"provenance: {self.statements} attached, of this image" if self.statements else "no provenance"
            )
        if self.stand_in:
            lines.append(f"not for a Safe Haven: this image stands on {STAND_IN_MEANS}")
        return "\n".join(lines)


def oxum_problems(tags: Mapping[str, bytes], total: int, files: int) -> list[str]:
    """Return a line if the size in ``bag-info.txt`` is not the one that was found."""
    expected, found = parse_info(tags[INFO]).get(OXUM), f"{total}.{files}"
    return [] if expected == found else [f"size     {INFO} says {OXUM} {expected}, the payload has {found}"]


def raise_if(difference: Difference, problems: Iterable[str], where: object) -> None:
    """Raise `MismatchError` with a line per difference and per problem, if there is any."""
    details = (*difference.lines(), *problems)
    if details:
        raise MismatchError(
            "this is not the dataset that its manifest says",
            where=where,
            found=difference or f"{len(details)} problems",
            details=details,
        )
