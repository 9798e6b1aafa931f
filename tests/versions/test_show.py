"""`datapack show`: everything that is known about a version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Catalog, make_catalog
from tests.three_versions import make_reef

if TYPE_CHECKING:
    from pathlib import Path

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def show(catalog: Catalog, reference: str = "reef@v1") -> dict:
    return json.loads(catalog.ok("show", reference, "--json"))


def test_a_version_that_nobody_has_fetched(catalog: Catalog) -> None:
    """The catalog's facts and lines are shown, and what to do next."""
    found = show(catalog)
    assert found["catalog"]["title"] == "A small reef"
    assert found["catalog"]["sources"] == [{"kind": "local", "what": "source", "into": "", "line": 11}]
    assert (found["lock"], found["here"]["bag"], found["here"]["image"]) == (None, None, None)
    assert found["next"] == ["datapack plan reef@v1", "datapack fetch reef@v1"]
    assert "local source   datasets.yml:11" in catalog.ok("show", "reef@v1")


def test_a_built_version(built: Catalog) -> None:
    """The bag, the image and the records are shown with their state, and nothing is changed."""
    before = {path: path.stat().st_mtime_ns for path in built.root.rglob("*") if path.is_file()}
    found = show(built)
    assert {path: path.stat().st_mtime_ns for path in built.root.rglob("*") if path.is_file()} == before
    here = found["here"]
    assert here["bag"]["state"] == "as locked"
    assert (here["bag"]["files"], here["image"], here["dvc_cache"]) == (4, "here", "has it whole")
    assert here["dist"]["bytes"] == sum(
        p.stat().st_size for p in (built.root / "dist/reef-v1").rglob("*") if p.is_file()
    )
    assert here["provenance"].endswith("dist/reef-v1.provenance.json")
    assert found["next"] == ["datapack run reef@v1", "datapack push reef@v1"]


def test_the_days_are_those_of_gits_commits(fetched: Catalog) -> None:
    """A digest has the day of the first commit that brought it into the lock."""
    assert show(fetched)["lock"]["day"] is None

    def git(*arguments: str, **dates: str) -> None:
        command, environment = [*GIT, *arguments], {**os.environ, **dates}
        subprocess.run(command, cwd=fetched.root, env=environment, check=True, capture_output=True)

    git("init")
    for day in ("2026-01-02", "2026-03-04"):
        (fetched.root / "datasets.lock").write_text((fetched.root / "datasets.lock").read_text() + "# a comment\n")
        git("add", "datasets.lock")
        git("commit", "-m", day, GIT_AUTHOR_DATE=f"{day}T12:00:00Z", GIT_COMMITTER_DATE=f"{day}T12:00:00Z")
    assert show(fetched)["lock"]["day"] == "2026-01-02"


def test_damage_is_named(built: Catalog) -> None:
    """A bag that lost a file, a cache that lost an object and a report of failures are shown as such."""
    (built.root / "data/reef/v1/data/z").unlink()
    shutil.rmtree(built.root / ".dvc/cache")
    (built.root / "data/reef/v1.failures.json").write_text(json.dumps({"failures": [1, 2, 3]}))
    (built.root / "data/reef/v1.partial").mkdir()
    text = built.ok("show", "reef@v1")
    assert "data/reef/v1, incomplete" in text
    assert "DVC's cache does not have it whole" in text
    assert "failures    3 files could not be fetched: see data/reef/v1.failures.json" in text
    assert "left by an interrupted fetch" in text


@pytest.mark.parametrize("content", ["[", "[]", '{"failures": null}', "9" * 5000])
def test_a_broken_report_is_no_error(built: Catalog, content: str) -> None:
    """A report that can't be read is only named."""
    (built.root / "data/reef/v1.failures.json").write_text(content)
    assert "failures    files could not be fetched" in built.ok("show", "reef@v1")


def test_parents_and_children(tmp_path: Path) -> None:
    """Each version names the one it is based on, and those that are based on it."""
    reef = make_reef(make_catalog(tmp_path / "catalog").root)
    family = show(reef, "reef@v2")["family"]
    assert (family["parent"], family["children"]) == ("reef@v1", ["reef@v3"])


def test_a_withdrawn_version_is_shown_from_the_lock(built: Catalog) -> None:
    """What the catalog no longer has is found by its name, and can be removed."""
    text = (built.root / "datasets.yml").read_text()
    (built.root / "datasets.yml").write_text(text.replace("      v1:", "      v2:"))
    found = show(built)
    assert found["catalog"] is None
    assert found["lock"]["files"] == 4
    assert found["next"] == ["datapack remove reef@v1   # the catalog no longer has it"]
    assert "withdrawn: datasets.yml no longer has it" in built.ok("show", "reef@v1")
    assert "reef has no version v9" in built.fails("show", "reef@v9", status=2)


def test_foreign_text_adds_no_line(built: Catalog) -> None:
    """A title with a line feed, and a receipt with an escape sequence, stay in their lines."""
    text = (built.root / "datasets.yml").read_text()
    (built.root / "datasets.yml").write_text(text.replace("title: A small reef", 'title: "A reef\\nIMPORT OK"'))
    folder = built.root / "dist/rehearsals/reef-v1/20260101-000000-x/safe_outputs/reef"
    folder.mkdir(parents=True)
    (folder / "v1.import.txt").write_bytes(b"\x1b[2J\xe2\x80\xaeIMPORT OK\xff")
    lines = built.ok("show", "reef@v1").splitlines()
    assert lines[1] == r"title       A reef\nIMPORT OK"
    assert any(line.endswith(r": \x1b[2J\u202eIMPORT OK�") for line in lines)


def test_signatures_are_named_but_not_trusted(built: Catalog) -> None:
    """Signature files beside the bag and both images are shown, as not checked."""
    names = ["data/reef/v1.sigstore.json", "data/reef/v1.jo.sigstore.json", "dist/reef-v1-run.sigstore.json"]
    for name in names:
        (built.root / name).write_text("{}")
    (built.root / "data/reef/v10.sigstore.json").write_text("{}")
    lines = [line for line in built.ok("show", "reef@v1").splitlines() if "sigstore" in line]
    assert [line.split() for line in lines] == [
        ["signatures", "data/reef/v1.jo.sigstore.json,", "not", "checked"],
        ["data/reef/v1.sigstore.json,", "not", "checked"],
        ["dist/reef-v1-run.sigstore.json,", "not", "checked"],
    ]
    assert sorted(show(built)["here"]["signatures"]) == sorted(str(built.root / name) for name in names)


def test_secrets_in_urls_are_not_shown(catalog: Catalog) -> None:
    """A source's URL is shown without its password and its signature."""
    text = (catalog.root / "datasets.yml").read_text()
    url = "https://example.org/a.zip?X-Amz-Signature=hunter2"
    (catalog.root / "datasets.yml").write_text(text.replace("- local: source", f"- url: {url}"))
    assert "hunter2" not in catalog.ok("show", "reef@v1") + catalog.ok("show", "reef@v1", "--json")
    assert "hunter2" not in catalog.ok("plan", "reef@v1") + catalog.ok("plan", "reef@v1", "--json")


def test_the_last_rehearsals_have_their_receipts(built: Catalog) -> None:
    """Each rehearsal is shown with the last line of the receipt that its import wrote."""
    for number in range(5):
        folder = built.root / f"dist/rehearsals/reef-v1/2026010{number}-000000-x/safe_outputs/reef"
        folder.mkdir(parents=True)
        (folder / "v1.import.txt").write_text(f"files 4\nIMPORT OK {number}\n")
    receipts = [each["receipt"] for each in show(built)["here"]["rehearsals"]]
    assert receipts == ["IMPORT OK 4", "IMPORT OK 3", "IMPORT OK 2"]
