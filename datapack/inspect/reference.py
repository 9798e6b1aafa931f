"""Write the reference of the findings, ``docs/findings.md``: ``python -m datapack.inspect.reference``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from datapack.inspect.check import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.inspect.findings import Rule

_START = """\
# Findings

`datapack check REF` looks into a dataset and lists what may be wrong with it. `datapack fetch`, `build` and `push` do
the same once the data is here, and note errors and warnings in a line each. The result is kept by the dataset's digest,
so it costs nothing the next time. Nothing is changed.

| severity | meaning | `check` fails |
|---|---|---|
| error | training fails, the results are wrong, or something is in the data that must not leave | yes |
| warning | results suffer, or something is probably a mistake | with `--strict` |
| note | good to know | no |

With `--strict`, errors and warnings also stop `fetch`, `build` and `push` before an image is made.

To accept a finding, silence it in the catalog, with the reason. It then fails no check, and is listed last:

    versions:
      v1:
        sources: [...]
        silence:
          DP309: "two animals in one shell: see the authors' README"

To leave out what a finding concerns, derive a version from this one. It links the files, and copies none:

    versions:
      v2:
        sources:
          - subset: reef@v1
            drop: [DP309]

A code keeps its meaning for good.
"""
_GROUPS = {
    "1": "Files",
    "2": "Images",
    "3": "COCO files",
    "4": "Several COCO files",
    "5": "Tables",
}


def reference() -> str:
    """Return the reference in Markdown: a table of all codes, then a section for each."""
    return "\n".join([_START, *_sections()])


def _sections() -> Iterator[str]:
    for group, title in _GROUPS.items():
        rules = [rule for code, rule in RULES.items() if code[2] == group]
        if rules:
            yield f"## {title}\n\n| code | severity | finding |\n|---|---|---|"
            yield from (f"| [{rule.code}](#{rule.code.lower()}) | {rule.severity} | {rule.title} |" for rule in rules)
            yield ""
            yield from map(_section, rules)


def _section(rule: Rule) -> str:
    title = f"{rule.title[0].upper()}{rule.title[1:]}"
    return f"### {rule.code}\n**{title}** ({rule.severity}). {rule.why}\n\n{rule.fix}\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
