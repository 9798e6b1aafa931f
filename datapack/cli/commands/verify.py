"""`datapack verify`: check a bag or an image against its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.options import INSECURE, add_command, console

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.verify import Verified
    from datapack.verify.signatures import Signatures

_EXAMPLES = (
    "datapack verify reef@v1",
    "datapack verify oci:dist/reef-v1",
    "datapack verify docker://ghcr.io/you/reef:v1 --quick",
    "datapack verify reef@v1 --key key.pub                  # who signed it, too",
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
        "--full", dest="mode", action="store_const", const="full", default="full", help="read every byte (the default)"
    )
    mode.add_argument(
        "--quick",
        dest="mode",
        action="store_const",
        const="quick",
        help="check only names and sizes; the output says so",
    )
    parser.add_argument("--insecure", action="store_true", help=INSECURE)
    signatures = parser.add_argument_group("signature options")
    key = (
        "the signer's public key, in PEM format: fail unless exactly this was signed with it; of several, one is enough"
    )
    signatures.add_argument("--key", action="append", default=[], type=Path, metavar="PUBLIC.pem", help=key)
    signature = "a file with a signature, besides those that are beside it or attached to it in a registry"
    signatures.add_argument("--signature", action="append", default=[], type=Path, metavar="FILE", help=signature)


def run(options: argparse.Namespace) -> Answer:
    """Check a bag or an image against its manifest, and its signatures."""
    from datapack.api.checking import verify

    verified = verify(
        options.what,
        quick=options.mode == "quick",
        keys=options.key,
        signatures=options.signature,
        insecure=options.insecure,
        catalog=options.folder,
        progress=console(options),
    )
    return Answer({**facts(verified), **_signature_facts(verified.signatures)}, str(verified).split("\n"))


def _signature_facts(signatures: Signatures) -> dict[str, Any]:
    from datapack.cli.commands.sign import key_facts

    valid = signatures.valid
    signed_by = None if valid is None else {**key_facts(valid.key), "signature": valid.where}
    provenance = [{**key_facts(made.key), "signature": made.where} for made in signatures.provenance]
    more: dict[str, Any] = {"provenance_signed_by": provenance} if provenance else {}
    more |= {"sbom": signatures.sbom} if signatures.sbom != "none" else {}
    return {"signatures": signatures.count, "signed_by": signed_by, **more}


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
