"""The result of a scan and an SBOM in the record: what is counted, and what is refused."""

import json

import pytest

from datapack.errors import MismatchError, UsageError
from datapack.ingress.markdown import markdown
from datapack.ingress.scan import read_scan
from tests.ingress.records import a_record

ID = f"sha256:{'1' * 64}"
REPORT = {
    "SchemaVersion": 2,
    "Trivy": {"Version": "0.76.0"},
    "ArtifactName": "reef.tar",
    "Metadata": {"ImageID": ID},
    "Results": [
        {
            "Vulnerabilities": [{"Severity": "LOW"}, {"Severity": "HIGH"}, {"Severity": "HIGH"}, {"Severity": "<b>"}],
            "Misconfigurations": [{"Severity": "HIGH", "Status": "FAIL"}, {"Severity": "LOW", "Status": "PASS"}],
            "ExperimentalModifiedFindings": [
                {"Type": "misconfiguration", "Statement": "root is the researcher", "Finding": {"ID": "DS-0002"}},
                {"Type": "vulnerability", "Finding": {"VulnerabilityID": "CVE-2026-1"}},
            ],
        },
        {"Target": "nothing"},
    ],
}


def written(tmp_path, report) -> object:
    path = tmp_path / "scan.json"
    path.write_text(report if isinstance(report, str) else json.dumps(report))
    return path


def test_what_the_report_says(tmp_path):
    """Findings are counted by severity, the worst first; exceptions have their reasons; no database is no date."""
    scan = read_scan(written(tmp_path, REPORT), ID)
    assert list(scan.vulnerabilities.items()) == [("HIGH", 2), ("LOW", 1), ("UNKNOWN", 1)]
    assert scan.misconfigurations == {"HIGH": 1}
    assert [(one.id, one.reason) for one in scan.exceptions] == [
        ("DS-0002", "root is the researcher"),
        ("CVE-2026-1", "no reason is given"),
    ]
    assert (scan.version, scan.database, scan.secrets, scan.passed) == ("0.76.0", None, 0, None)
    ours = {"VulnerabilityDB": {"UpdatedAt": "2026-11-27T00:00:00Z"}, "Summary": {"Passed": False}}
    scan = read_scan(written(tmp_path, {**REPORT, **ours, "Results": [{"Secrets": [{"RuleID": "x"}]}]}), ID)
    assert (scan.database, scan.secrets, scan.passed) == ("2026-11-27T00:00:00Z", 1, False)


def test_no_database_is_never_no_vulnerability():
    """Without a database the record says that nothing was checked, not that nothing was found."""
    record = a_record()
    blind = record.scan.model_copy(update={"vulnerabilities": {}, "database": None})
    page = markdown(record.model_copy(update={"scan": blind.model_copy(update={"passed": True})}))
    assert "not checked: there was no database" in page
    assert "| Passed | as far as it looked: not for vulnerabilities |" in page
    seen = blind.model_copy(update={"database": "2026-11-27"})
    assert "| Vulnerabilities | none in the result |" in markdown(record.model_copy(update={"scan": seen}))


@pytest.mark.parametrize(
    "report",
    ["", "{", "[]", "null", "{}", '{"SchemaVersion": 1}', '{"SchemaVersion": 2, "Results": 3}', "[" * 100_000]
    + [json.dumps({"SchemaVersion": 2, "Results": [value]}) for value in (None, "x", {"Vulnerabilities": ["x"]})]
    + [json.dumps({"SchemaVersion": 2, "Results": [{"ExperimentalModifiedFindings": [{"Finding": "x"}]}]})]
    + [json.dumps({**REPORT, "Summary": {"Passed": True}, "Results": [{"Secrets": [{"RuleID": "x"}]}]})]
    + [json.dumps(REPORT)[:-1] + ', "Results": []}'],
)
def test_what_is_no_report_is_one_line(tmp_path, report):
    """Anything else is refused, whatever its form."""
    with pytest.raises(UsageError, match="not the result of a scan"):
        read_scan(written(tmp_path, report), ID)


@pytest.mark.parametrize("metadata", [None, {}, {"ImageID": f"sha256:{'2' * 64}"}, {"ImageID": 3}])
def test_a_scan_of_another_image_is_refused(tmp_path, metadata):
    """A scan says nothing of an image that it did not read."""
    with pytest.raises(MismatchError, match="the scan is not of this image"):
        read_scan(written(tmp_path, {**REPORT, "Metadata": metadata}), ID)
