"""The result of a scan: Trivy's report as JSON, as `make scan` writes it, with the database's date and a summary.

A report of ``trivy image --format json --show-suppressed`` alone is one too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from datapack.errors import DatapackError, MismatchError, UsageError
from datapack.files import read_limited
from datapack.ingress.record import Scan, ScanException
from datapack.jsonfile import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LIMIT = 256 << 20  # bytes
_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN")
_EXPECTED = "a report of 'trivy image --format json --show-suppressed'"


def read_scan(path: Path, image_id: str) -> Scan:
    """Read the report of a scan.

    Args:
        path: the report.
        image_id: the ID of the image that the record is of.

    Raises:
        UsageError: it is no such report.
        MismatchError: it is the report of another image.
    """
    content = read_limited(path, _LIMIT, DatapackError)
    try:
        report = parse_json(content, path, UsageError, limit=None)
        if not isinstance(report, dict) or report.get("SchemaVersion") != 2:  # noqa: PLR2004 - the only one
            raise TypeError("no SchemaVersion 2")
        scan = _parse(report, path.name, hashlib.sha256(content).hexdigest())
    except (ValueError, LookupError, TypeError, AttributeError, UsageError) as error:
        raise UsageError("not the result of a scan", where=path, expected=_EXPECTED, found=str(error)[:200]) from error
    if scan.image != image_id:
        found = scan.image or "no ImageID"
        fix = "scan this image: Trivy reads an archive, 'datapack build REF --to oci-archive:FILE'"
        raise MismatchError("the scan is not of this image", where=path, expected=image_id, found=found, fix=fix)
    return scan


def _parse(report: dict[str, Any], name: str, sha256: str) -> Scan:
    results = report.get("Results") or []
    tool, database = report.get("Trivy") or {}, report.get("VulnerabilityDB") or {}
    passed = (report.get("Summary") or {}).get("Passed")
    wrong = [one for result in results for one in result.get("Misconfigurations") or () if one.get("Status") == "FAIL"]
    secrets = sum(len(result.get("Secrets") or ()) for result in results)
    if passed is True and (wrong or secrets):
        raise ValueError("it says that it passed, and has findings")
    return Scan(
        tool="Trivy",
        version=_text(tool.get("Version")),
        database=_text(database.get("UpdatedAt")),
        image=_text((report.get("Metadata") or {}).get("ImageID")),
        vulnerabilities=_counts(one for result in results for one in result.get("Vulnerabilities") or ()),
        misconfigurations=_counts(iter(wrong)),
        secrets=secrets,
        passed=passed if isinstance(passed, bool) else None,
        exceptions=tuple(dict.fromkeys(_exceptions(results))),
        file=name,
        sha256=sha256,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _counts(findings: Iterator[dict[str, Any]]) -> dict[str, int]:
    """Count findings by severity, the worst first; a severity without any is left out."""
    counts = Counter(found["Severity"] if found.get("Severity") in _SEVERITIES else "UNKNOWN" for found in findings)
    return {severity: counts[severity] for severity in _SEVERITIES if counts[severity]}


def _exceptions(results: list[dict[str, Any]]) -> Iterator[ScanException]:
    for result in results:
        for one in result.get("ExperimentalModifiedFindings") or ():
            found = one.get("Finding") or {}
            identity = found.get("VulnerabilityID") or found.get("ID") or found.get("RuleID") or "unknown"
            yield ScanException(id=str(identity), reason=str(one.get("Statement") or "no reason is given"))
