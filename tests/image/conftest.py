"""A registry with bases to pin."""

import pytest

from tests.conftest import make_base
from tests.registries import push, serve


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry that all tests of a file push to, each under its own name."""
    with serve(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def pushed(registry, tmp_path):
    """A function that pushes a base, a different one per label, and returns its digest."""

    def pushed(name: str, label: str = "", architecture: str = "amd64") -> str:
        layout = tmp_path / f"{label}-{architecture}"
        digest = make_base(layout, label, architecture)
        push(layout, registry, name)
        return digest

    return pushed
