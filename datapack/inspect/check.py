"""Check a survey: find what may be wrong with a dataset."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from datapack.inspect.checks import boxes, categories, deep, files, images, leakage, lists, tables, unchecked, weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from datapack.inspect.findings import Finding, Rule
    from datapack.inspect.model import Survey

_MODULES = (files, images, lists, boxes, categories, leakage, tables, weights, unchecked, deep)
_NOTHING: Mapping[str, str] = MappingProxyType({})
#: Every rule by its code, sorted.
RULES: Mapping[str, Rule] = dict(sorted((rule.code, rule) for module in _MODULES for rule in module.RULES))


def check(survey: Survey, silence: Mapping[str, str] = _NOTHING) -> tuple[Finding, ...]:
    """Return everything that may be wrong with a dataset, sorted by code.

    Args:
        survey: what is known about its content.
        silence: by code, why the catalog accepts a finding; such a finding has the reason with it.
    """
    found = [finding for module in _MODULES for one in module.CHECKS for finding in one(survey)]
    return tuple(
        replace(finding, silenced=silence.get(finding.rule.code, ""))
        for finding in sorted(found, key=lambda finding: finding.rule.code)
    )


def open_findings(findings: Iterable[Finding], *, strict: bool = False) -> tuple[Finding, ...]:
    """Return the findings that let a check fail: errors that are not silenced, and with ``strict`` warnings too."""
    severities = {"error", "warning"} if strict else {"error"}
    return tuple(finding for finding in findings if finding.rule.severity in severities and not finding.silenced)
