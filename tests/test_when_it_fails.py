"""When it fails: the messages that the page explains are those of the code."""

import re

import pytest

from tests.conftest import PROJECT

PAGE = PROJECT / "docs/guides/when-it-fails.md"
CODE = " ".join(
    " ".join(path.read_text().split())
    for folder in ("datapack", "trainers")
    for pattern in ("*.py", "*.sh")
    for path in sorted((PROJECT / folder).rglob(pattern))
)
# What differs from case to case: numbers, paths, names in capitals, and what a colon, a comma or dots set apart.
_VARIABLE = re.compile(r"\.\.\.|[:;,(]|\S*[\d/@<>]\S*|\b[A-Z]+_[A-Z_]+\b|\b(HOST|PNG)\b|--frobnicate")
OTHERS = {"403", "... 503 Service Unavailable", "connection refused"}  # the words of HTTP and of the system


def messages() -> list[str]:
    """Return each message in the tables: the column after the status, if there is one."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [row[1] if re.match(r"\| (\d|$)", row[0]) else row[0] for row in rows]
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell) if message not in OTHERS]


@pytest.mark.parametrize("message", messages())
def test_a_message_of_the_page_is_one_of_the_code(message):
    """The first or the longest part of it that does not vary stands in the code, by its first five words."""
    parts = [part.split()[:5] for part in _VARIABLE.split(message) if part and " " in part.strip()]
    words = {" ".join(parts[0]), " ".join(max(parts, key=lambda part: len(" ".join(part))))}
    assert any(some in CODE for some in words)
