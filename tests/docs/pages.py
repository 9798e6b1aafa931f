"""Pages of Markdown: their fenced blocks, and the comments before a block that say how a test runs it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS = PROJECT / "docs"
#: What a block that no test runs may need. CONTRIBUTING.md lists them.
NEEDS = (
    "the Safe Haven",
    "the internet",
    "a login",
    "a GPU",
    "a terminal",
    "a trainer image",
    "another machine",
    "long",
)
FILES = ("yaml", "json", "python", "text")  # blocks that can be files
_FENCE = re.compile(r"```(\w*)$")
_COMMENT = re.compile(r"<!-- (not run|before|status): (.+) -->$")
_FILE = re.compile(r"# (?P<name>[\w./-]+?)(?P<more>, added at the end)?$")


class Command(NamedTuple):
    """A command of a console block, and the lines below it."""

    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comments before it say."""

    line: int  # of its fence, from 1
    kind: str
    text: str
    not_run: str = ""  # why
    before: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (0,)  # with one of which the last command ends

    def commands(self) -> Iterator[Command]:
        """Yield each command of a console block; a line before the first one is an error."""
        command: list[str] = []
        output: list[str] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                if command:
                    yield Command("\n".join(command), tuple(output))
                command, output = [line[2:]], []
            elif line.startswith("> ") and command and not output:
                command.append(line[2:])
            else:
                assert command, f"line {self.line}: output without a command: {line}"
                output.append(line)
        yield Command("\n".join(command), tuple(output))

    def file(self) -> tuple[str, str, bool] | None:
        """Return the name and the content of the file that the block is, and whether it is added to one."""
        head, _, body = self.text.partition("\n")
        named = _FILE.match(head) if self.kind in FILES else None
        return (named["name"], body, bool(named["more"])) if named else None


def pages() -> list[Path]:
    """Return all pages, those of the site and those beside the code."""
    return [*sorted(DOCS.rglob("*.md")), PROJECT / "README.md", PROJECT / "CONTRIBUTING.md"]


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = iter(enumerate(text.splitlines(), 1))
    comments: list[tuple[str, str]] = []
    for number, line in lines:
        if fence := _FENCE.match(line):
            body = _until_closed(lines, number)
            yield _block(number, fence[1], body, comments)
            comments = []
        elif comment := _COMMENT.match(line):
            comments.append((comment[1], comment[2]))
        else:
            assert not comments, f"line {number}: a block must follow {comments[-1]}"


def prose(text: str) -> str:
    """Return a page without its fenced and indented blocks, inline code and comments."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ {4,}.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", re.sub(r"`[^`\n]+`", "`", text), flags=re.DOTALL)


def _until_closed(lines: Iterator[tuple[int, str]], number: int) -> str:
    body: list[str] = []
    for _, line in lines:
        if line == "```":
            return "".join(f"{line}\n" for line in body)
        body.append(line)
    raise AssertionError(f"line {number}: the block has no end")


def _block(line: int, kind: str, text: str, comments: list[tuple[str, str]]) -> Block:
    says = dict(comments)
    return Block(
        line,
        kind,
        text,
        not_run=says.get("not run", ""),
        before=tuple(value for name, value in comments if name == "before"),
        statuses=tuple(int(number) for number in says.get("status", "0").split(" or ")),
    )
