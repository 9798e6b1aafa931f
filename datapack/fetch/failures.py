"""The failures of a fetch: files that could not be downloaded and must not be missing. All are written to a file."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from datapack.errors import FetchError
from datapack.files import atomic_writer, disk_errors
from datapack.urls import shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from datapack.download import Failure
    from datapack.fetch.payload import WantedFile
    from datapack.reference import Reference

_REASONS = 3  # how many an error names, each with an example


def report_failures(reference: Reference, failed: Mapping[WantedFile, Failure], total: int, path: Path) -> None:
    """Write all that is known about the failures to ``path`` and raise; without failures, remove an older report.

    Args:
        reference: the version that is fetched.
        failed: what could not be downloaded.
        total: how many files were to be downloaded.
        path: ``<version>.failures.json``.

    Raises:
        FetchError: there are failures; it names the most frequent reasons.
    """
    with disk_errors(path):
        if not failed:
            path.unlink(missing_ok=True)
            return
        with atomic_writer(path) as out:
            out.write(_format(reference, failed))
    reasons = Counter(failure.reason for failure in failed.values())
    examples = {failure.reason: shown(file.url) for file, failure in reversed(list(failed.items()))}
    raise FetchError(
        f"{len(failed):,} of {total:,} files could not be fetched",
        where=reference,
        found="; ".join(f"{n:,} x {why}, such as {examples[why]}" for why, n in reasons.most_common(_REASONS)),
        fix=f"all are listed in {path}; the same command fetches only these again",
    )


def _format(reference: Reference, failed: Mapping[WantedFile, Failure]) -> bytes:
    failures = [
        {
            "path": file.path,
            "url": shown(file.url),
            "answers": [
                {"address": answer.address, "reason": answer.reason, "tries": answer.tries}
                for answer in failure.answers
            ],
        }
        for file, failure in failed.items()
    ]
    report = {"reference": str(reference), "failures": failures}
    return (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()
