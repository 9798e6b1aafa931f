"""`datapack verify`: check a bag or an image against its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.options import INSECURE, add_command, console, workspace_if_any

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.verify import Verified

_EXAMPLES = (
    "datapack verify reef@v1",
    "datapack verify oci:dist/reef-v1",
    "datapack verify docker://ghcr.io/you/reef:v1 --quick",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "verify", run, summary="check a bag or an image against its manifest", examples=_EXAMPLES
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="name@version, a bag's folder, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker://...",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--full", dest="mode", action="store_const", const="full", default="full", help="read every byte (default)"
    )
    mode.add_argument("--quick", dest="mode", action="store_const", const="quick", help="check only names and sizes")
    parser.add_argument("--insecure", action="store_true", help=INSECURE)


def run(options: argparse.Namespace) -> Answer:
    """Check a bag or an image against its manifest."""
    from datapack.verify import verify

    here, folder = workspace_if_any(options), options.folder.resolve()
    verified = verify(options.what, folder, here, options.mode, console(options), insecure=options.insecure)
    return Answer(facts(verified), str(verified).split("\n"))


def facts(verified: Verified) -> dict[str, Any]:
    """Return the outcome of a verification, for JSON."""
    reference = str(verified.reference) if verified.reference else None
    image: dict[str, Any] = {"image": verified.image, "base": verified.base, "base_check": verified.base_check}
    image |= {"runnable": True} if verified.runnable else {}
    return {
        "where": verified.where,
        "scope": verified.scope,
        "reference": reference,
        "digest": verified.digest,
        "files": verified.files,
        "bytes": verified.bytes,
        **({**image, "stand_in": verified.stand_in, "statements": verified.statements} if verified.image else {}),
        **({"earlier": verified.earlier} if verified.earlier else {}),
    }
