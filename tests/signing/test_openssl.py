"""The commands for the Safe Haven, as the guide shows them: with openssl and a shell, and without datapack."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from datapack.oci.layout import Layout
from tests.conftest import PROJECT
from tests.signing.keyfiles import make_keys

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Catalog

CHECKS = {"ECDSA P-256": "-sha256", "ECDSA P-384": "-sha384", "Ed25519": "pkeyutl"}
BUNDLE, SBOM = "reef-v1.provenance.sigstore.json", "reef-v1.cdx.json"


def commands(kind: str, data: Path) -> list[str]:
    """Return the commands of the guide, with the check for one kind of key, for data in another folder."""
    page = (PROJECT / "docs/guides/sign-and-verify.md").read_text()
    section = re.split(r"\n##+ ", page.partition("\n### With openssl alone\n")[2])[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    found = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    others = [word for name, word in CHECKS.items() if name != kind]
    chosen = [line for line in found if not any(f"# {name}" in line for name in CHECKS if name != kind)]
    assert len(found) - len(chosen) == len(others)
    return [line.replace("/safe_data/reef/v1", str(data)) for line in chosen]


def run(lines: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands in a plain POSIX shell, which stops at the first that fails."""
    return subprocess.run(
        ["sh", "-e", "-c", "\n".join(lines)], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(params=list(CHECKS))
def signed(request: pytest.FixtureRequest, built: Catalog, tmp_path: Path) -> tuple[str, Path, Path, str]:
    """The kind of a key, a folder with what is brought in, the imported data, and the image's digest."""
    keys = make_keys(tmp_path, kind=request.param)
    built.ok("sign", "oci:dist/reef-v1", "--key", str(keys.private))
    for name in (BUNDLE, SBOM):
        shutil.copy(built.root / "dist" / name, tmp_path)
    shutil.copytree(built.root / "data/reef/v1", tmp_path / "imported")
    digest = Layout(built.root / "dist/reef-v1").image().digest.removeprefix("sha256:")
    return request.param, tmp_path, tmp_path / "imported", digest


def test_the_documented_commands(signed):
    """They pass on what was signed, and fail with one changed byte of statement, signature, SBOM or data."""
    kind, folder, data, digest = signed
    lines = commands(kind, data)
    done = run(lines, folder)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"(Verified OK|Signature Verified Successfully)\n1\n1\n{digest}\n?", done.stdout)
    bundle = json.loads((folder / BUNDLE).read_bytes())
    envelope = bundle["dsseEnvelope"]
    for part, key in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        good = part[key]
        raw = bytearray(base64.b64decode(good))
        raw[len(raw) // 2] ^= 1
        part[key] = base64.b64encode(raw).decode()
        (folder / BUNDLE).write_text(json.dumps(bundle))
        assert run(lines, folder).returncode != 0, key
        part[key] = good
    (folder / BUNDLE).write_text(json.dumps(bundle))  # with spaces, as others write it
    assert run(lines, folder).returncode == 0
    key = (folder / "key.pub").read_bytes()
    (folder / "key.pub").write_bytes(make_keys(folder, "other", kind).public.read_bytes())
    assert run(lines, folder).returncode != 0
    (folder / "key.pub").write_bytes(key)
    sbom = (folder / SBOM).read_bytes()
    (folder / SBOM).write_bytes(sbom + b" ")
    assert run(lines, folder).returncode != 0
    (folder / SBOM).write_bytes(sbom)
    file = next(path for path in sorted((data / "data").rglob("*")) if path.is_file())
    file.write_bytes(file.read_bytes() + b"x")
    assert "FAILED" in run(lines, folder).stdout
    with (data / "manifest-sha256.txt").open("a") as manifest:
        manifest.write("\n")
    assert run(lines, folder).returncode != 0
