"""DVC repositories inside git repositories."""

import subprocess

from tests.conftest import Catalog


def git(catalog: Catalog, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=catalog.root, check=True, capture_output=True)


def with_git(catalog: Catalog) -> None:
    """Let DVC expect git, and remove the pointer."""
    git(catalog, "init", "-q")
    (catalog.root / ".dvc/config").write_text("")
    (catalog.root / "data/reef/v1.dvc").unlink()
