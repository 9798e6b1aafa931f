"""The steps of an image's way: what they refuse, and that nothing from outside is ever a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clones import Clone, make_clone

if TYPE_CHECKING:
    from pathlib import Path


def test_private_data_is_not_built_where_everybody_reads_along(tmp_path: Path) -> None:
    """In a public repository, a private dataset ends the first step with one line, before anything of it is fetched."""
    clone = make_clone(tmp_path, IMAGE="data", REF="fathom24@v1", VISIBILITY="public")
    line = clone.fails("image-build")
    assert line.startswith("error: fathom24@v1: the dataset is private (CC-BY-NC-ND-4.0")
    assert "expected a private repository, found a public one" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "reference", ["reef@v1; touch stolen", "$(shell touch stolen)", "`touch stolen`", "--help", ""]
)
def test_a_name_is_never_a_command(tmp_path: Path, reference: str) -> None:
    """Whatever a tag of git is called, make and the shell run nothing of it."""
    clone = make_clone(tmp_path, IMAGE="data", REF=reference)
    assert "name@version" in clone.fails("image-build")
    assert not (tmp_path / "stolen").exists()


def test_an_unknown_image_is_named(tmp_path: Path) -> None:
    """A wrong IMAGE ends with the images there are; a push before a build says what to do first."""
    clone = make_clone(tmp_path, IMAGE="nvpyt")
    assert "expected data, model, nv-pyt, pyt, piped-pyt, tf, found 'nvpyt'" in clone.fails("image-build")
    clone = Clone(tmp_path, {"IMAGE": "pyt", "REGISTRY": "localhost:5000"})
    assert "run 'make image-build IMAGE=pyt' first" in clone.fails("image-push")


def test_the_token_of_a_registry_is_in_no_command_line(tmp_path: Path) -> None:
    """The login reads the token from a pipe; without a token it fails with one line."""
    clone = make_clone(tmp_path, REGISTRY="ghcr.io/You", REGISTRY_USER="you", HOME=str(tmp_path))
    engine = tmp_path / "podman"
    engine.write_text('#!/bin/sh\necho "$@"\ncat > token\n')
    engine.chmod(0o755)
    shown = clone.ok("registry-login", REGISTRY_TOKEN="secret-token", ENGINE=str(engine))
    assert shown == f"login --authfile {tmp_path}/.docker/config.json --username you --password-stdin ghcr.io\n"
    assert (tmp_path / "token").read_text() == "secret-token"
    assert "REGISTRY_TOKEN: no value" in clone.fails("registry-login", ENGINE=str(engine))
