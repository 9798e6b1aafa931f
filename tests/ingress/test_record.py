"""`datapack ingress`: what it asks for, what the record says, and what it refuses to record."""

import json
import re
import subprocess

import jsonschema
import pytest

from datapack.ingress.record import json_schema
from tests.conftest import PROJECT, Catalog, make_base

ANSWERS = """\
    description: Pictures of a reef.
    owner: A Museum, data@museum.example
    purpose: To train a detector.
    projects: [eidf1, eidf2]
    retention: {period: 2 years, reason: the agreement}
"""
KEYS = ("description", "owner", "purpose", "projects", "retention")
RECEIVED = ("--received", "2026-11-28")


def answer(catalog: Catalog, answers: str = ANSWERS) -> Catalog:
    path = catalog.root / "datasets.yml"
    path.write_text(path.read_text().replace("    versions:", f"{answers}    versions:", 1))
    return catalog


def record_of(catalog: Catalog, *options: str) -> dict:
    """Write the record; return its JSON, which its schema allows."""
    answered = json.loads(catalog.ok("--json", "ingress", "reef@v1", *options))
    written = json.loads((catalog.root / "dist" / "reef-v1.ingress" / "record.json").read_text())
    assert answered["record"] == written
    jsonschema.validate(written, json.loads(json_schema()))
    return written


def test_it_asks_for_each_answer(built):
    """A catalog without any answer gives a line for each, with file, line and example, and nothing is written."""
    errors = built.fails("ingress", "reef@v1", status=2)
    line = next(
        number
        for number, text in enumerate((built.root / "datasets.yml").read_text().splitlines(), 1)
        if "reef:" in text
    )
    for key in KEYS:
        (said,) = [text for text in errors.splitlines() if f"no '{key}'" in text]
        assert said.strip().startswith(f"{built.root / 'datasets.yml'}:{line}: ")
        assert f"'{key}: " in said
    assert "--received" in errors
    assert not (built.root / "dist" / "reef-v1.ingress").exists()


def test_each_answer_is_asked_for_alone(built):
    """One missing answer gives one line about it, and none about the others."""
    for key in KEYS:
        lines = [line for line in ANSWERS.splitlines(keepends=True) if not line.strip().startswith(key)]
        before = (built.root / "datasets.yml").read_text()
        errors = answer(built, "".join(lines)).fails("ingress", "reef@v1", *RECEIVED, status=2)
        assert re.findall(r"has no '(\w+)'", errors) == [key]
        (built.root / "datasets.yml").write_text(before)


def test_a_draft_has_visible_blanks(built):
    """A draft says that it is one, and shows what is missing as a blank in all three forms."""
    record = record_of(built, "--draft")
    assert record["blank"] == [*KEYS, "--received"]
    folder = built.root / "dist" / "reef-v1.ingress"
    assert sorted(path.name for path in folder.iterdir()) == ["record.html", "record.json", "record.md"]
    text, page = (folder / "record.md").read_text(), (folder / "record.html").read_text()
    assert "**Draft.**" in text
    assert "| Purpose | ________________ |" in text
    assert page.count('class="blank"') == text.count("________________") == len(record["blank"]) + 1 + 9 - 1


def test_the_record_says_what_is_known(built):
    """Answers, days, digests, counts and sources are in it; the same call gives the same bytes."""
    record = record_of(answer(built), *RECEIVED)
    lock = (built.root / "datasets.lock").read_text()
    assert record["data"]["digest"] in lock
    assert record["image"]["digest"] in lock
    assert record["image"]["in_lock"] is True
    assert (record["data"]["files"], record["data"]["bytes"]) == (4, 3003)
    assert record["received"] == {"day": "2026-11-28", "basis": "option"}
    assert record["retention"] == {"deletion": "2028-11-28", "period": "2 years", "reason": "the agreement"}
    assert record["projects"] == ["eidf1", "eidf2"]
    assert record["sources"] == [{"kind": "local", "what": "source", "address": None, "terms": None}]
    assert record["verification"]["scope"] == "full"
    assert [one["kind"] for one in record["evidence"]] == ["provenance", "sbom"]
    assert record["evidence"][0]["said"] == "in-toto statement of this image"
    assert record["evidence"][1]["said"].endswith("; it names this image, and the provenance names it")
    assert [one["state"] for one in record["signatures"]] == ["none found", "none found"]
    assert [one["role"] for one in record["approvals"]] == [
        "Data owner",
        "Data manager",
        "Information governance reviewer",
    ]
    folder = built.root / "dist" / "reef-v1.ingress"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    built.ok("ingress", "reef@v1", *RECEIVED)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not built.leftovers()


def test_the_day_comes_from_git(built):
    """Without --received, the day is that of the commit that brought the dataset into the lock."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(built.root)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "datasets.yml", "datasets.lock"], check=True)
    env = {"GIT_COMMITTER_DATE": "2026-03-04T05:06:07Z", "GIT_AUTHOR_DATE": "2026-03-04T05:06:07Z"}
    subprocess.run([*git, "commit", "-qm", "a"], check=True, env={**built.options()["env"], **env})
    record = record_of(answer(built))
    assert record["received"] == {"day": "2026-03-04", "basis": "lock"}
    assert record["software"]["catalog_day"] == "2026-03-04"
    assert record["software"]["catalog_changed"] is True  # the answers are not in a commit yet


def test_quick_says_that_no_byte_was_read(built):
    """The record never says 'verified' of bytes that were not read."""
    record = record_of(answer(built), *RECEIVED, "--quick")
    assert record["verification"]["scope"] == "quick"
    assert "verified, every byte" not in (built.root / "dist" / "reef-v1.ingress" / "record.md").read_text()


def test_findings_and_why_they_are_accepted(built):
    """A finding of the checks is in the record, with the catalog's reason for accepting it."""
    record = record_of(answer(built), *RECEIVED)
    code = record["checks"]["findings"][0]["code"]
    path = built.root / "datasets.yml"
    path.write_text(
        path.read_text().replace("      v1:\n", f"      v1:\n        silence: {{{code}: it is a test}}\n", 1)
    )
    findings = {one["code"]: one["accepted"] for one in record_of(built, *RECEIVED)["checks"]["findings"]}
    assert findings[code] == "it is a test"
    assert "it is a test" in (built.root / "dist" / "reef-v1.ingress" / "record.md").read_text()


def test_without_the_data_the_checks_are_not_claimed(built):
    """If only the image is here, the record says that no check ran."""
    subprocess.run(["rm", "-r", built.root / "data"], check=True)
    record = record_of(answer(built), *RECEIVED)
    assert record["checks"] == {"ran": False, "rules": 0, "deep": False, "findings": []}
    assert (
        "Not run: the data was not on the machine"
        in (built.root / "dist" / "reef-v1.ingress" / "record.md").read_text()
    )


def test_a_tampered_image_gets_no_record(built):
    """A changed byte in a layer is an error with the exit status of a mismatch; an earlier record stays as it was."""
    answer(built).ok("ingress", "reef@v1", *RECEIVED)
    before = (built.root / "dist" / "reef-v1.ingress" / "record.json").read_bytes()
    blobs = built.root / "dist" / "reef-v1" / "blobs" / "sha256"
    blob = next(path for path in blobs.iterdir() if b"a" * 3000 in path.read_bytes())
    blob.chmod(0o644)
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(content.replace(b"aaa", b"aab", 1))
    assert "manifest" in built.fails("ingress", "reef@v1", *RECEIVED, status=3)
    assert (built.root / "dist" / "reef-v1.ingress" / "record.json").read_bytes() == before


def test_a_lock_with_another_image_gets_no_record(built):
    """If datasets.lock names another image or other data, the record would be of neither."""
    answer(built)
    path = built.root / "datasets.lock"
    text = path.read_text()
    image = json.loads(built.ok("--json", "show", "reef@v1"))["lock"]["image"]
    path.write_text(text.replace(image, f"sha256:{'0' * 64}"))
    assert "the image is not the one in the lock" in built.fails("ingress", "reef@v1", *RECEIVED, status=3)


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (("--received", "yesterday"), 2, "--received: not a day"),
        (("--received", "2026-02-30"), 2, "--received: not a day"),
        (("--received", "2999-01-01"), 2, "--received: a day in the future: found 2999-01-01"),
        (("--image", "dist/reef-v1"), 2, "--image: not an image"),
        (("--image", "oci:base"), 1, "not an import container"),
        (("--image", "oci:absent"), 1, "not an OCI layout"),
        (("--scan", "datasets.yml"), 2, "not the result of a scan"),
        (("--sbom", "source/train.json"), 1, "not an SBOM"),
        (("--to", "source"), 1, "the folder has files that are no record"),
        (("--to", "datasets.yml"), 1, "a file or a link is where the record should go"),
    ],
)
def test_bad_input_is_one_line(built, options, status, says):
    """Each mistake is one clear line, and nothing is written."""
    given = () if "--received" in options else RECEIVED
    assert says in answer(built).fails("ingress", "reef@v1", *given, *options, status=status)
    assert not (built.root / "dist" / "reef-v1.ingress").exists()


def test_no_image_is_one_line(fetched):
    """Before the build there is nothing to make a record of."""
    assert "datapack build reef@v1" in answer(fetched).fails("ingress", "reef@v1", *RECEIVED)


def test_another_version_s_image_is_refused(built):
    """A record is of the version's own image."""
    path = built.root / "datasets.yml"
    text = answer(built).root.joinpath("datasets.yml").read_text()
    path.write_text(f"{text}      v2:\n        sources:\n          - local: source/z\n")
    built.ok("build", "reef@v2")
    errors = built.fails("ingress", "reef@v1", *RECEIVED, "--image", "oci:dist/reef-v2", status=2)
    assert "the image is of another version: expected reef@v1, found reef@v2" in errors


def test_the_schema_that_ships_is_the_current_one():
    """`make schema` was run after the last change of the record."""
    assert (PROJECT / "datapack" / "ingress" / "record.schema.json").read_text() == json_schema()


def test_a_foreign_image_is_no_record(built):
    """An image that is no import container is refused before anything is said of it."""
    make_base(built.root / "foreign", DATAPACK="x")
    assert "not an import container" in answer(built).fails("ingress", "reef@v1", *RECEIVED, "--image", "oci:foreign")
