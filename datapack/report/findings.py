"""The findings of `check` on the page: what is wrong, how often, where, and which lines of the catalog fix it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from markupsafe import Markup

from datapack.page.cells import Listing, name
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.inspect.findings import Finding

_FEW = 5  # findings that need no table of their own
_ORDER = {"error": 0, "warning": 1, "note": 2}


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that are not silenced, the most serious first."""
    loud = [finding for finding in findings if not finding.silenced]
    return sorted(loud, key=lambda finding: (_ORDER[finding.rule.severity], finding.rule.code))


def summary(findings: Sequence[Finding]) -> str:
    """Say in one line how many findings of each severity there are."""
    loud = by_severity(findings)
    counts = Counter(finding.rule.severity for finding in loud)
    parts = [counted(counts[severity], severity) for severity in ("error", "warning", "note") if counts[severity]]
    if quiet := len(findings) - len(loud):
        parts.append(f"{quiet:,} silenced in the catalog")
    return ", ".join(parts) or "nothing found"


def overview(findings: Sequence[Finding]) -> Listing:
    """Return the table of what was found, if there is so much that the first things would hide the others."""
    loud = by_severity(findings)
    rows = [
        (
            Markup('<a href="#{0}">{0}</a>').format(finding.rule.code),
            finding.rule.severity,
            finding.rule.title,
            finding.count,
        )
        for finding in loud
    ]
    return Listing("All findings", ("Code", "Severity", "Finding", "Number"), rows if len(rows) > _FEW else ())


def silenced(findings: Sequence[Finding]) -> Listing:
    """Return the table of the findings that the catalog accepts, with the reasons."""
    rows = [
        (f"{finding.rule.code} {finding.rule.title}", finding.count, name(finding.silenced, 300))
        for finding in findings
        if finding.silenced
    ]
    return Listing("Silenced in the catalog", ("Finding", "Number", "Reason"), rows)
