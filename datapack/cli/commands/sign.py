"""`datapack sign`: sign a dataset or an image with a private key, offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.cli.answer import Answer
from datapack.cli.options import INSECURE, add_command, console, path_of, short, workspace_if_any
from datapack.errors import shown

if TYPE_CHECKING:
    import argparse

    from datapack.cli.options import Commands
    from datapack.signing.keys import PublicKey
    from datapack.verify.sign import Signed

_EXAMPLES = (
    "datapack sign reef@v1 --key key.pem                     # beside the bag",
    "datapack sign oci:dist/reef-v1 --key key.pem            # beside the layout",
    "datapack sign docker://ghcr.io/you/reef:v1 --key key.pem",
)


def add(commands: Commands) -> None:
    parser = add_command(
        commands, "sign", run, summary="verify a bag or an image and sign it with a private key", examples=_EXAMPLES
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="name@version, a bag's folder, oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker://...",
    )
    parser.add_argument(
        "--key",
        required=True,
        type=Path,
        metavar="PRIVATE.pem",
        help="the private key, in PEM format: Ed25519, ECDSA P-256 or P-384; a passphrase is asked for, or taken "
        "from the variable DATAPACK_KEY_PASSPHRASE",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the signature to this file (default: beside it, <its name>.sigstore.json; of an image in a "
        "registry: attached to the image)",
    )
    parser.add_argument("--insecure", action="store_true", help=INSECURE)


def run(options: argparse.Namespace) -> Answer:
    """Verify a bag or an image and sign it."""
    from datapack.signing.keys import read_private_key
    from datapack.verify.sign import sign

    here, folder = workspace_if_any(options), options.folder.resolve()
    key = read_private_key((folder / options.key).resolve(), _ask)
    output = path_of(options, "output")
    signed = sign(options.what, folder, here, key, console(options), output=output, insecure=options.insecure)
    lines = [
        *str(signed.verified).split("\n"),
        f"signed     the {signed.subject.what} {signed.subject.digest}",
        f"key        {signed.key.kind}, SHA256:{signed.key.fingerprint}",
        *([f"provenance {_shown(signed.provenance)}"] if signed.provenance else []),
        f"signature  {_shown(signed.where)}{'' if signed.is_new else ' (it was there already)'}",
    ]
    return Answer(_facts(signed), lines)


def key_facts(key: PublicKey) -> dict[str, str]:
    """Return what identifies a key, for JSON."""
    return {"kind": key.kind, "fingerprint": f"SHA256:{key.fingerprint}"}


def _facts(signed: Signed) -> dict[str, Any]:
    return {
        "where": signed.verified.where,
        "signed": signed.subject.what,
        "digest": signed.subject.digest,
        "key": key_facts(signed.key),
        "signature": signed.where,
        **({"provenance_signature": signed.provenance} if signed.provenance else {}),
        "new": signed.is_new,
    }


def _shown(where: str) -> str:
    return where if where.startswith("docker://") else short(Path(where))


def _ask(name: str) -> str | None:
    """Ask for a passphrase on the terminal; None where there is none."""
    import getpass

    if not (sys.stdin and sys.stdin.isatty()):
        return None
    try:
        return getpass.getpass(f"Passphrase of {shown(name)}: ")
    except EOFError:
        return None
