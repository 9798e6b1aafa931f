"""Scan an image in an archive or an OCI layout, before anybody gets it, and write what is in it.

    python scripts/scan.py scan ARCHIVE RESULT [DOCKERFILE...]  known vulnerabilities, secrets, misconfigurations
    python scripts/scan.py sbom ARCHIVE FILE                    what is in it, as CycloneDX
    python scripts/scan.py here                                 both, of ARCHIVE, into build/scan
    python scripts/scan.py trainers ENGINE IMAGE...             both, of trainer images that an engine has

SCAN_DATABASE=no scans without the database of vulnerabilities: the result says "not checked". SCAN_DATABASE=cached
takes the one in Trivy's cache as it is. RESULT is Trivy's report as JSON, with the database's date and a ``Summary``.
``docs/guides/scan.md`` describes it.

Exit status 9: do not release this image; 8: no database of vulnerabilities; 1, 2 or 3: the scan itself failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image import save_command, version_in
from trivy import Trivy, check_exceptions

from datapack.errors import DatapackError, MismatchError, UsageError, shown
from datapack.files import atomic_writer
from datapack.oci.archive import Archive
from datapack.oci.image import read_json
from datapack.oci.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOUND = 9
RESULTS = Path("build", "scan")
NOT_CHECKED = "not checked"
_SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN")
_SEVERE = {"CRITICAL", "HIGH"}


def scan(archive: Path, result: Path, dockerfiles: Sequence[Path], variables: Mapping[str, str]) -> bool:
    """Scan an image and write the result; return whether it may be released.

    Raises:
        UsageError: there is no scanner or no such archive, or an exception has no reason.
        NoDatabaseError: the database of vulnerabilities can't be had.
        ImageError: the archive is damaged.
    """
    result.unlink(missing_ok=True)  # nobody takes an older result for this one
    digest, image_id = _identify(archive)
    check_exceptions()
    trivy = Trivy.find(variables)
    wanted = _wanted_database(variables)
    database = trivy.database(update=wanted == "yes") if wanted != "no" else None
    scanners = ["--scanners=vuln,secret", "--skip-db-update"] if database else ["--scanners=secret"]
    scanners += ["--image-config-scanners=secret", "--offline-scan"]
    report = trivy.report("image", f"--input={archive}", *scanners)
    metadata = report.get("Metadata") or {}
    if metadata.get("ImageID") != image_id:
        what = "Trivy has read another image than the archive's index names"
        raise MismatchError(what, where=archive, expected=image_id, found=metadata.get("ImageID"))
    texts = {"the image's configuration": as_dockerfile(metadata.get("ImageConfig") or {})}
    texts |= {str(path): path.read_text(encoding="utf-8") for path in dockerfiles}
    report["Results"] = [*(report.get("Results") or ()), *_misconfigurations(trivy, texts)]
    if database:
        report["VulnerabilityDB"] = {"UpdatedAt": database}
    report["Trivy"] = {"Version": trivy.version().get("Version"), "SHA256": trivy.sha256}
    report["Summary"] = summary = summarize(report, digest)
    result.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(result) as file:
        file.write(f"{json.dumps(report, indent=2, ensure_ascii=False)}\n".encode())
    _show(summary, result)
    return bool(summary["Passed"])


def _wanted_database(variables: Mapping[str, str]) -> str:
    value = variables.get("SCAN_DATABASE", "") or "yes"
    if value not in {"yes", "no", "cached"}:
        raise UsageError("unknown value", where="SCAN_DATABASE", expected="yes, cached or no", found=repr(value))
    return value


def _identify(archive: Path) -> tuple[str, str]:
    """Return the digests of an image's manifest and of its configuration, which Trivy calls the image's ID."""
    if not archive.exists():
        raise UsageError(
            "no such archive", where=archive, fix="build it first: 'make image-build', or 'datapack build'"
        )
    storage = Layout(archive) if archive.is_dir() else Archive.find(archive)
    image = storage.image()
    return image.digest, str(read_json(storage, image)["config"]["digest"])


def as_dockerfile(image: Mapping[str, Any]) -> str:
    """Return a Dockerfile that gives an image this configuration: Trivy has its rules for that form only."""
    config = image.get("config") or {}
    lines = ["FROM scratch"]
    for variable in config.get("Env") or ():
        name, _, value = str(variable).partition("=")
        lines.append(f"ENV {json.dumps(name)[1:-1]}={json.dumps(value)}")
    lines += [f"EXPOSE {json.dumps(port)[1:-1]}" for port in config.get("ExposedPorts") or ()]
    for key, instruction in (("WorkingDir", "WORKDIR"), ("User", "USER")):
        if config.get(key):
            lines.append(f"{instruction} {json.dumps(str(config[key]))[1:-1]}")
    for key in ("Entrypoint", "Cmd"):
        if config.get(key):
            lines.append(f"{key.upper()} {json.dumps(config[key])}")
    return "\n".join(lines) + "\n"


def _misconfigurations(trivy: Trivy, texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what Trivy says about Dockerfiles, each under its own name."""
    names = {f"{number}/Dockerfile": name for number, name in enumerate(texts)}
    with tempfile.TemporaryDirectory() as folder:
        for path, name in names.items():
            Path(folder, path).parent.mkdir()
            Path(folder, path).write_text(texts[name], encoding="utf-8")
        rules = ("--scanners=misconfig", "--misconfig-scanners=dockerfile", "--skip-check-update")
        results = trivy.report("fs", *rules, folder).get("Results") or []
    found = {result.get("Target"): {**result, "Target": names.get(result.get("Target"))} for result in results}
    for path, name in names.items():
        if path not in found:  # Trivy logs what it can't read, and goes on
            raise UsageError("Trivy can't read it, so the scan has no result", where=name)
    return list(found.values())


def summarize(report: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """Return the parts of a report that people read; ``docs/guides/scan.md`` describes each."""
    results = report["Results"]
    database = (report.get("VulnerabilityDB") or {}).get("UpdatedAt")
    vulnerabilities = _all(results, "Vulnerabilities")
    fixed = [one for one in vulnerabilities if one.get("FixedVersion") and one.get("Severity") in _SEVERE]
    wrong = [one for one in _all(results, "Misconfigurations") if one.get("Status") == "FAIL"]
    secrets = _all(results, "Secrets")
    system = (report.get("Metadata") or {}).get("OS")
    return {
        "Passed": not (fixed or wrong or secrets),
        "Image": digest,
        "System": f"{system['Family']} {system.get('Name', '')}".strip() if system else None,
        "Supported": not system.get("EOSL", False) if system else None,
        "Database": database,
        "Vulnerabilities": _counts(vulnerabilities) if database else NOT_CHECKED,
        "Fixable": [_vulnerability(one) for one in fixed],
        "Misconfigurations": [_found(one, "ID") for one in wrong],
        "Secrets": [_found(one, "RuleID") for one in secrets],
        "Exceptions": [*_exceptions(results)],
    }


def _all(results: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [{**one, "Where": result.get("Target")} for result in results for one in result.get(kind) or ()]


def _counts(findings: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts = Counter(str(one.get("Severity")) for one in findings)
    return {severity: counts[severity] for severity in _SEVERITIES if counts[severity]}


def _vulnerability(found: Mapping[str, Any]) -> dict[str, Any]:
    names = {"ID": "VulnerabilityID", "Severity": "Severity", "Package": "PkgName", "Version": "InstalledVersion"}
    return {name: found.get(key) for name, key in {**names, "Fixed": "FixedVersion"}.items()}


def _found(found: Mapping[str, Any], key: str) -> dict[str, Any]:
    named = {"ID": found.get(key), **{name: found.get(name) for name in ("Severity", "Title", "Where")}}
    return {**named, "Line": found["StartLine"]} if found.get("StartLine") else named


def _exceptions(results: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in _all(results, "ExperimentalModifiedFindings"):
        found = one.get("Finding") or {}
        identity = found.get("VulnerabilityID") or found.get("RuleID") or found.get("ID")
        yield {"ID": identity, "Reason": one.get("Statement"), "Where": one["Where"]}


def _show(summary: Mapping[str, Any], result: Path) -> None:
    """Print the summary; what comes from the image is shown without control characters."""
    counts = summary["Vulnerabilities"]
    known = counts if counts == NOT_CHECKED else ", ".join(f"{n} {s.lower()}" for s, n in counts.items()) or "none"
    lines = [("image", summary["Image"]), ("system", summary["System"] or "unknown: its packages were not checked")]
    if summary["Supported"] is False:
        lines.append(("", "no longer supported: it gets no fixes"))
    lines += [("database", summary["Database"] or "none"), ("vulnerabilities", known)]
    lines += [
        ("", f"{one['ID']} {one['Severity'].lower()}: {one['Package']} {one['Version']}, fixed in {one['Fixed']}")
        for one in summary["Fixable"]
    ]
    for kind in ("Misconfigurations", "Secrets"):
        found = [f"{one['ID']}: {one['Title']}, in {one['Where']}" for one in summary[kind]]
        lines += zip([kind.lower(), *[""] * len(found)], found or ["none"], strict=False)
    reasons = {one["ID"]: one["Reason"] for one in summary["Exceptions"]}
    accepted = [f"{identity}: {reason}" for identity, reason in reasons.items()]
    lines += zip(["accepted", *[""] * len(accepted)], accepted or ["nothing"], strict=False)
    for label, value in [*lines, ("result", result)]:
        print(f"{label:<18} {shown(str(value))}")


def sbom(archive: Path, file: Path, variables: Mapping[str, str]) -> None:
    """Write the SBOM of an image."""
    _identify(archive)
    content = Trivy.find(variables).sbom(archive)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(file) as output:
        output.write(content)
    print(f"{'SBOM':<18} {file}")


def _both(archive: Path, name: str, *dockerfiles: Path) -> bool:
    sbom(archive, RESULTS / f"{name}.cdx.json", os.environ)
    return scan(archive, RESULTS / f"{name}.json", dockerfiles, os.environ)


def _trainers(engine: str, images: Sequence[str]) -> bool:
    """Scan trainer images, all of them even if one must not be released."""
    passed = True
    for image in images:
        dockerfile = Path("docker", image, "Dockerfile")
        tag = f"{image}:{version_in(dockerfile)}"
        RESULTS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder:  # as large as the image
            archive = Path(folder, f"{image}.tar")
            if subprocess.run(save_command(engine, tag, archive), check=False).returncode:
                raise UsageError("no such image", where=tag, fix=f"run 'make images IMAGES={image}' first")
            passed &= _both(archive, tag.replace(":", "-"), dockerfile)
    return passed


def main(command: str, *arguments: str) -> bool:
    """Run a command of the command line; return whether the images may be released."""
    match command, *arguments:
        case "scan", archive, result, *dockerfiles:
            return scan(Path(archive), Path(result), [*map(Path, dockerfiles)], os.environ)
        case "sbom", archive, file:
            sbom(Path(archive), Path(file), os.environ)
            return True
        case "here", *_:
            archive = os.environ.get("ARCHIVE", "")
            if not archive:
                raise UsageError("no archive", where="ARCHIVE", expected="an archive or an OCI layout")
            return _both(Path(archive), Path(archive).name.removesuffix(".tar"))
        case "trainers", engine, *images:
            return _trainers(engine, images)
        case _:
            raise UsageError("unknown command", expected="scan, sbom, here or trainers", found=repr(command))


if __name__ == "__main__":
    try:
        if not main(*(sys.argv[1:] or [""])):
            print("error: do not release this image: see above what was found", file=sys.stderr)
            sys.exit(FOUND)
    except OSError as error:
        sys.exit(f"error: {error}")
    except DatapackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
