"""Who can read a repository's jobs: their logs, their artifacts and, on most services, the images they push.

A registry is asked separately, before a push, whether it shows private data to everybody. That is too late for a job's
log, which names files, and for artifacts.
"""

from __future__ import annotations

from datapack.errors import UsageError

#: What GitHub and GitLab call a repository: everybody reads a public one, everybody with an account an internal one.
VISIBILITIES = ("private", "internal", "public")


def check_visibility(visibility: str, dataset: str, licence: str, *, private: bool) -> None:
    """Refuse to handle private data where people who may not have it can read the jobs.

    Args:
        visibility: of the repository whose jobs handle the data: one of `VISIBILITIES`.
        dataset: its name.
        licence: its licence, for the message.
        private: whether the catalog says that the dataset is private.

    Raises:
        UsageError: the dataset is private and the repository is not, or the visibility is an unknown one.
    """
    if visibility not in VISIBILITIES:
        expected = "private, internal or public"
        raise UsageError("no such visibility", where="--visibility", expected=expected, found=repr(visibility))
    if private and visibility != "private":
        raise UsageError(
            f"the dataset is private ({licence}), and the jobs of this repository are not",
            where=dataset,
            expected="a private repository",
            found=f"{'an' if visibility == 'internal' else 'a'} {visibility} one",
            fix="make the repository private, or build this dataset in one that is",
        )
