"""Failures: files that could not be downloaded but must not be missing. They are all written to a report."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from datapack.download.responses import PRIVATE, PRIVATE_REDIRECT
from datapack.errors import FetchError
from datapack.files import atomic_writer, disk_errors
from datapack.text import counted
from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from datapack.download import Failure
    from datapack.fetch.payload import WantedFile
    from datapack.reference import Reference

_REASONS = 3  # shown in the error, each with an example


def _as_host(failed: Mapping[WantedFile, Failure]) -> str:
    """Return how the first refused host is written in the catalog: with its port, if its URL has one."""
    answers = (failure.answers[-1] for failure in failed.values())
    host = next((urlsplit(answer.url).netloc for answer in answers if answer.reason == PRIVATE), "")
    return f': hosts: ["{host}"]' if host else ""


def report_failures(
    reference: Reference,
    failed: Mapping[WantedFile, Failure],
    total: int,
    path: Path,
    hints: Sequence[str] = (),
) -> None:
    """Write all failures to ``path`` and raise; without failures, remove an older report.

    Args:
        reference: the version that is being fetched.
        failed: the files that could not be downloaded.
        total: the number of files to download.
        path: ``<version>.failures.json``.
        hints: what else to do about them.

    Raises:
        FetchError: there are failures; the error names the most frequent reasons.
    """
    with disk_errors(path):
        if not failed:
            path.unlink(missing_ok=True)
            return
        with atomic_writer(path) as out:
            for part in _format(reference, failed):
                out.write(part.encode())
    reasons = {failure.reason for failure in failed.values()}
    fix = f"see {path} for all of them; run the same command again to retry only these"
    fix = "; ".join((*hints, fix))
    if not reasons.isdisjoint({PRIVATE, PRIVATE_REDIRECT}):
        fix += f"; a host that may have a private address belongs under 'hosts' of the source{_as_host(failed)}"
    raise FetchError(
        f"{len(failed):,} of {counted(total, 'file')} could not be fetched",
        where=reference,
        found="; ".join(_summary(failed)),
        fix=fix,
    )


def _summary(failed: Mapping[WantedFile, Failure]) -> Iterator[str]:
    """Yield the most frequent reasons, each with a file, and how many other reasons there are."""
    reasons = Counter(failure.reason for failure in failed.values())
    examples: dict[str, WantedFile] = {}
    for file, failure in failed.items():
        examples.setdefault(failure.reason, file)
    for reason, number in reasons.most_common(_REASONS):
        yield f"{number:,} x {reason}{', such as' if number > 1 else ':'} {hide_secrets(examples[reason].url)}"
    if len(reasons) > _REASONS:
        yield f"and {counted(len(reasons) - _REASONS, 'other reason')}"


def _format(reference: Reference, failed: Mapping[WantedFile, Failure]) -> Iterator[str]:
    """Yield the report in JSON, a failure at a time: there may be hundreds of thousands."""
    yield f'{{\n  "reference": {_json(str(reference))},\n  "failures": ['
    for number, (file, failure) in enumerate(failed.items()):
        answers = [{"url": answer.url, "reason": answer.reason, "tries": answer.tries} for answer in failure.answers]
        text = _json({"path": file.path, "url": hide_secrets(file.url), "answers": answers})
        yield f"{',' if number else ''}\n    " + text.replace("\n", "\n    ")
    yield "\n  ]\n}\n"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
