"""Write the reference of the findings, ``docs/reference/findings.md``: ``python -m datapack.inspect.reference``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from datapack.inspect.check import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.inspect.findings import Rule

_START = """\
# Findings

A *finding* is something that may be wrong with a dataset. `datapack check REF` lists all findings and changes nothing.
`datapack fetch`, `build` and `push` run the same checks once the data is here, and print one line for each error and
warning. They keep the result in `.datapack/`, so the checks of unchanged data run once.

| severity | meaning | `check` fails |
|---|---|---|
| error | training fails, results are wrong, or the data contains something that must not leave | yes |
| warning | results suffer, or there is probably a mistake | with `--strict` |
| note | good to know | no |

With `--strict`, errors and warnings also stop `fetch`, and `build` and `push` before they make an image.

To accept a finding, silence it in the catalog and give the reason. The finding is then listed last and fails no check:

    versions:
      v1:
        sources: [...]
        silence:
          DP309: "two animals in one shell: see the authors' README"

To leave out the boxes, images or files concerned, derive a version. It links the files and copies none:

    versions:
      v2:
        sources:
          - subset: reef@v1
            drop: [DP309]

A code never changes its meaning.
"""
_GROUPS = {
    "1": "Files",
    "2": "Images",
    "3": "COCO files",
    "4": "Several COCO files",
    "5": "Tables",
    "6": "Weights of models",
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
