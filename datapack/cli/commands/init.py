"""`datapack init`: start a catalog."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.options import add_command

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.cli.output import Line

SERVICES = ("github", "gitlab")  # of datapack.automation.files, which the help must not import
_NOW = ("datasets.yml", ".gitignore")
_LATER = ("datasets.lock", "data", ".dvc")  # git ignores the data itself, which DVC keeps
_EXAMPLES = (
    "datapack init",
    "datapack init my-data",
    "datapack init --ci github    # also in a folder that has a catalog",
    "datapack init --ci gitlab",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "init", run, summary="create a catalog, datasets.yml, in a folder", examples=_EXAMPLES
    )
    parser.add_argument(
        "where", metavar="DIR", nargs="?", type=Path, default=Path(), help="the folder (default: %(default)s)"
    )
    parser.add_argument(
        "--ci",
        choices=SERVICES,
        help="also write a pipeline, or only that where there is a catalog already: a pull request shows plan, check "
        "and diff, a tag name@version builds, scans and pushes",
    )
    parser.set_defaults(makes_folder=True)


def run(options: argparse.Namespace) -> Answer:
    """Create a catalog, a pipeline, or both."""
    from datapack.workspace.folder import CATALOG

    folder = (options.folder / options.where).resolve()
    if options.ci is None:
        return _catalog(folder)
    lines: list[Line] = []
    value: dict[str, Any] = {"folder": str(folder), "written": []}
    pipeline = _pipeline(folder, options.ci)
    if not (folder / CATALOG).exists():
        started = _catalog(folder)
        lines, value = [*started.lines], dict(started.value)
    value = {**value, "written": [*value["written"], *pipeline], "ci": options.ci}
    lines += [f"wrote {path}" for path in pipeline]
    lines += ["the pipeline is there already, unchanged"] * (not pipeline)
    lines += [
        "Say in ci/requirements.txt where your datapack comes from; ci/review.sh and ci/release.sh run here, too.",
        "Before the first tag: docs/guides/automate.md says which secrets and settings the service needs.",
    ]
    return Answer(value, lines)


def _pipeline(folder: Path, service: str) -> list[str]:
    from datapack.automation.files import write_pipeline

    return [str(path) for path in write_pipeline(folder, service)]


def _catalog(folder: Path) -> Answer:
    from datapack.catalog.template import EXAMPLE, init

    outer = _outer(folder)
    written = init(folder)
    lines = [f"wrote {path}" for path in written]
    if outer:
        lines.append(f"In this folder, datapack now uses this catalog instead of the one in {outer}")
    lines += [
        f"Edit datasets.yml, then run: datapack build {EXAMPLE}@v1",
        f"Commit now:                  git add {' '.join(_NOW)}",
        f"Commit after each build:     git add {' '.join(_LATER)}",
    ]
    commit = {"now": list(_NOW), "after_each_build": list(_LATER)}
    return Answer({"folder": str(folder), "written": [str(path) for path in written], "commit": commit}, lines)


def _outer(folder: Path) -> Path | None:
    """Return the folder of the catalog that counts here so far."""
    from datapack.errors import CatalogError
    from datapack.workspace.folder import Workspace

    try:
        return Workspace.find(folder.parent).root
    except CatalogError:
        return None
