"""Who can read a repository's jobs: their logs, their artifacts and, on most services, the images they push.

A registry is asked separately, before a push, whether it shows private data to everybody. That is too late for a job's
log, which names files, and for artifacts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.catalog.licences import may_be_public, undecided
from datapack.errors import UsageError

if TYPE_CHECKING:
    from datapack.catalog.model import Dataset

#: What GitHub and GitLab call a repository: everybody reads a public one, everybody with an account an internal one.
VISIBILITIES = ("private", "internal", "public")


def check_visibility(visibility: str, name: str, dataset: Dataset) -> None:
    """Refuse to handle private data where people who may not have it can read the jobs.

    Args:
        visibility: of the repository whose jobs handle the data: one of `VISIBILITIES`.
        name: the dataset's name, for the message.
        dataset: what the catalog says about it.

    Raises:
        UsageError: the repository is not private, and the dataset is, or nobody has said whether it is and its licence
            is not one that lets everybody have it; or the visibility is an unknown one.
    """
    if visibility not in VISIBILITIES:
        expected = "private, internal or public"
        raise UsageError("no such visibility", where="--visibility", expected=expected, found=repr(visibility))
    if visibility == "private" or may_be_public(dataset):
        return
    if not dataset.private:
        raise undecided(name, dataset)
    raise UsageError(
        f"the dataset is private ({dataset.licence}), and the jobs of this repository are not",
        where=name,
        expected="a private repository",
        found=f"{'an' if visibility == 'internal' else 'a'} {visibility} one",
        fix="make the repository private, or build this dataset in one that is",
    )
