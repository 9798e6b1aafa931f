"""Which versions a change touches."""

import subprocess

from tests.conftest import CATALOG


def git(folder, *arguments):
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_version_is_changed_if_the_catalog_or_the_lock_says_something_else(catalog):
    """New versions, changed keys of a dataset and a changed lock count; another dataset and a comment do not."""
    root, names = catalog.root, ("list", "--names", "--since")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "first")
    assert catalog.ok(*names, "main") == ""
    (root / "datasets.yml").write_text(CATALOG + "      v2: {parent: v1, sources: [{local: source}]} # new\n")
    assert catalog.ok(*names, "main") == "reef@v2\n"
    assert "reef@v1" not in catalog.ok("list", "--since", "main")
    (root / "datasets.yml").write_text(CATALOG.replace("CC0-1.0", "CC-BY-4.0"))
    assert catalog.ok(*names, "HEAD") == "reef@v1\n"
    (root / "datasets.yml").write_text(CATALOG + "# a comment\n")
    assert catalog.ok(*names, "main") == ""
    catalog.ok("fetch", "reef@v1")
    assert catalog.ok(*names, "main") == "reef@v1\n"


def test_a_commit_without_a_catalog_had_no_version(catalog):
    """What git does not have, or what nobody could read then, is no obstacle; a commit that is none is one line."""
    git(catalog.root, "init", "--quiet", "--initial-branch", "main")
    (catalog.root / "datasets.yml").rename(catalog.root / "later")
    git(catalog.root, "add", "--all")
    git(catalog.root, "commit", "--quiet", "--message", "none")
    (catalog.root / "later").rename(catalog.root / "datasets.yml")
    assert catalog.ok("list", "--names", "--since", "main") == "reef@v1\n"
    assert "git has no such commit, found 'v9'" in catalog.fails("list", "--since", "v9", status=2).replace(
        ": found", ", found"
    )
    assert "git has no such commit" in catalog.fails("list", "--since=--all", status=2)
