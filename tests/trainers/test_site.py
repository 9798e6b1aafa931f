"""The docs in an image: a job copies them to the outputs, whole, and overwrites nothing."""

import pytest

from tests.trainers.havens import PROJECT
from trainers import site
from trainers.__main__ import main
from trainers.errors import TrainingError


@pytest.fixture
def pages(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    (folder / "guides").mkdir(parents=True)
    (folder / "index.html").write_text("first")
    (folder / "guides" / "a.html").write_text("second")
    for path in (folder / "index.html", folder / "guides" / "a.html"):
        path.chmod(0o555)
    monkeypatch.setattr(site.copy_site, "__defaults__", (folder,))
    return folder


def test_docs_are_copied_whole_and_again(pages, tmp_path, capsys):
    """The last line names the folder; a second job finds the same docs and succeeds; no temporary folder stays."""
    for _ in range(2):
        assert main(["docs", "--outputs", str(tmp_path / "out")]) == 0
        assert capsys.readouterr().out.splitlines()[-1].endswith(f"DOCS OK {tmp_path}/out/docs")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["docs"]
    assert (tmp_path / "out" / "docs" / "guides" / "a.html").read_text() == "second"
    assert (tmp_path / "out" / "docs" / "index.html").stat().st_mode & 0o111 == 0


@pytest.mark.parametrize("make", ["other", "file", "link", "empty"])
def test_something_else_is_never_overwritten(pages, tmp_path, capsys, make):
    """Another page, a file, a link and an empty folder stay as they are; one line says what to do."""
    target = tmp_path / "mine"
    if make == "link":
        target.symlink_to(pages)
    elif make == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        if make == "other":
            (target / "index.html").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert main(["docs", "--to", str(target)]) == 1
    assert "DOCS FAILED: " in (line := capsys.readouterr().out.splitlines()[-1])
    assert "--to" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_clone_says_how_to_build_them(tmp_path):
    """Without the site, the error says `make docs`, and nothing is written."""
    with pytest.raises(TrainingError, match="make docs"):
        site.copy_site(tmp_path / "docs", PROJECT / "no-such-site")
    assert not list(tmp_path.iterdir())


def test_to_is_for_docs_alone(capsys):
    """Another command refuses --to."""
    assert main(["check", "--to", "x"]) == 2
    assert "--to is for docs" in capsys.readouterr().out
