"""`datapack plan`: what a build or a push would do and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.cli.answer import Answer
from datapack.cli.commands.build import target
from datapack.cli.options import INSECURE, add_command, add_reference, console, workspace
from datapack.cli.output import Marked

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.cli.output import Line

_EXAMPLES = (
    "datapack plan reef@v1",
    "datapack plan reef@v1 docker://     # what a push would send",
    "datapack plan reef@v1 --refresh     # if every file is fetched again",
    "datapack plan reef@v1 --visibility public   # in a job that everybody can read",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "plan",
        run,
        summary="show what a build would fetch, write and push; change nothing",
        examples=_EXAMPLES,
    )
    add_reference(parser)
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="as for 'datapack build'; docker:// alone is the catalog's registry"
    )
    parser.add_argument("--to", dest="to", metavar="TARGET", help="the target, as an option")
    parser.add_argument(
        "--refresh", action="store_true", help="plan to fetch from the sources, even if the bag is here"
    )
    parser.add_argument("--insecure", action="store_true", help=INSECURE)
    parser.add_argument(
        "--visibility",
        metavar="WHO",
        help="in a job: who can read its log and its artifacts, 'private', 'internal' or 'public'; a dataset that "
        "the catalog calls private is refused unless it is 'private'",
    )


def run(options: argparse.Namespace) -> Answer:
    """Plan a build."""
    from datapack.automation.visibility import check_visibility
    from datapack.catalog.model import Catalog
    from datapack.fetch.job import FetchOptions
    from datapack.reference import Reference
    from datapack.versions.plan import plan
    from datapack.versions.plan_table import table

    here, reference = workspace(options), Reference.parse(options.reference)
    if options.visibility is not None:
        dataset = Catalog.read(here.catalog).entry(reference).dataset
        check_visibility(options.visibility, reference.name, dataset)
    chosen = FetchOptions(refresh=options.refresh)
    found = plan(here, reference, target(options), console(options), chosen, insecure=options.insecure)
    lines: list[Line] = [*table(found, here.root)]
    lines += [Marked("problem", "red", f"   {problem}") for problem in found.problems]
    return Answer(found.to_json(), lines, status=1 if found.problems else 0)
