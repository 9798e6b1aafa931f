"""Every console block of the pages: its commands run, in order, and print what the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import PROJECT
from tests.containers.engines import unavailable
from tests.docs import sandbox
from tests.docs.pages import NEEDS, Block, blocks, pages
from tests.docs.shell import NOT_FOUND, Shell, difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.docs.sandbox import Stage

PAGES = {str(page.relative_to(PROJECT)): page for page in pages()}
TUTORIAL = "docs/tutorial.md"  # has a test of its own, with its own data


def to_run(page: Path) -> list[Block]:
    """Return the blocks of a page that the test follows."""
    return [
        block for block in blocks(page.read_text()) if not block.not_run and (block.kind == "console" or block.file())
    ]


def commands(page: Path) -> str:
    """Return all commands of a page."""
    parts = [(*block.before, *(command.text for command in block.commands())) for block in consoles(page)]
    return "\n".join(text for part in parts for text in part)


def consoles(page: Path) -> list[Block]:
    return [block for block in to_run(page) if block.kind == "console"]


def marks(page: Path) -> list[pytest.MarkDecorator]:
    """Return the marks of a page's test: what its commands need."""
    text = commands(page)
    found = [pytest.mark.slow, pytest.mark.xdist_group("docs")]
    if sandbox.NEEDS_ENGINE.search(text) or sandbox.NEEDS_APPTAINER.search(text):
        found.append(pytest.mark.engine)
    if sandbox.NEEDS_REGISTRY.search(text):
        found.append(pytest.mark.registry)
    return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The prepared folder, and the servers that pages need."""
    try:
        with sandbox.stage(tmp_path_factory.mktemp("docs")) as made:
            yield made
    except FileNotFoundError as error:  # no busybox for the base
        unavailable(str(error))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=marks(page), id=name)
        for name, page in PAGES.items()
        if consoles(page) and name != TUTORIAL
    ],
)
def test_every_command_of_a_page_runs(stage: Stage, page: Path, tmp_path: Path) -> None:
    """Whoever follows the page, command by command, gets what it shows."""
    stage.start(commands(page))
    folder = stage.copy(tmp_path / "work")
    with Shell(folder, stage.environment) as shell:
        for block in to_run(page):
            follow(block, shell, stage)


def follow(block: Block, shell: Shell, stage: Stage) -> None:
    """Write the block's file, or run its commands."""
    for command in block.before:
        done = shell.run(stage.translate(command))
        assert done.status == 0, f"line {block.line}, before it: {command}\n{done.output}"
    if file := block.file():
        name, content, more = file
        where = shell.run("pwd").output.strip()
        with open(f"{where}/{name}", "a" if more else "w") as stream:  # noqa: PTH123 - of a shell's folder
            stream.write(stage.translate(content))
        return
    found = list(block.commands())
    for number, (text, expected) in enumerate(found, 1):
        done = shell.run(stage.translate(text))
        where = f"line {block.line}: {text}\n"
        if done.status == NOT_FOUND and "command not found" in done.output:
            unavailable(f"{where}{done.output}")
        output = stage.shown(done.output)
        assert done.status in (block.statuses if number == len(found) else (0,)), f"{where}{output}"
        assert "Traceback" not in output, f"{where}{output}"
        if expected:
            shown = [sandbox.REGISTRIES.sub("ghcr.io/your-namespace", line) for line in expected]
            fault = difference(shown, output)
            assert not fault, f"{where}{fault}"


def test_a_block_that_is_not_run_says_why() -> None:
    """The reason is one of those in CONTRIBUTING.md; only console blocks have one."""
    listed = (PROJECT / "CONTRIBUTING.md").read_text()
    assert all(f"`{need}`" in listed for need in NEEDS)
    for name, page in PAGES.items():
        for block in blocks(page.read_text()):
            if block.not_run:
                assert block.kind == "console", f"{name}:{block.line}"
                assert block.not_run.startswith(NEEDS), f"{name}:{block.line}: {block.not_run}"


def test_output_is_compared_line_by_line() -> None:
    """Dots stand for any text and any lines; everything else must be there, and nothing more."""
    assert not difference(["a...", "...", "z"], "abc\nx\ny\nz")
    assert not difference(["..."], "")
    assert not difference(["a", "…"], "a")
    for expected, output in (
        (["a"], "a\nb"),
        (["a", "b"], "a"),
        (["a...c"], "ab"),
        (["...", "b"], "b\nc"),
        (["a"], ""),
    ):
        assert difference(expected, output)


def test_comments_and_blocks_are_read() -> None:
    """What a page says of a block is found, and a comment without a block is an error."""
    page = "<!-- before: touch a -->\n<!-- status: 3 -->\n```console\n$ one \\\n> two  # why\nout\n$ three\n```\n"
    (block,) = blocks(page)
    assert (block.before, block.statuses) == (("touch a",), (3,))
    assert [*block.commands()] == [("one \\\ntwo  # why", ("out",)), ("three", ())]
    with pytest.raises(AssertionError, match="a block must follow"):
        list(blocks("<!-- status: 3 -->\ntext\n"))


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    """The shell returns the status of each command, and keeps its folder and its variables."""
    with Shell(tmp_path, {"PATH": "/usr/bin:/bin"}) as shell:
        assert shell.run("echo one; (exit 7)") == ("one\n", 7)
        assert shell.run("mkdir a; cd a; x=5").status == 0
        assert shell.run("basename $PWD; echo $x; cat").output.split() == ["a", "5"]
