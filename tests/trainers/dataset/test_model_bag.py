"""The model of a ready-to-run image: it is verified, and what is loaded is what was verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from datapack.bag.model_facts import ModelFacts
from tests.bags import write_bag
from tests.models import FACTS
from trainers.dataset import model_bag
from trainers.dataset.model_bag import verify_model
from trainers.errors import ConfigError, MismatchError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = b"weights" * 1000


@pytest.fixture
def bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bag of a model, as the environment of its image names it."""
    files = {"model.json": FACTS.to_json(), FACTS.weights: WEIGHTS, "card.md": b"# Crabs"}
    digest = write_bag(tmp_path / "crabs", files)
    monkeypatch.setenv("TRAINERS_MODEL", str(tmp_path / "crabs"))
    monkeypatch.setenv("DATAPACK_DIGEST", digest)
    monkeypatch.setenv("DATAPACK_DATASET", "crabs@v1")
    return tmp_path / "crabs"


def test_a_verified_model_has_its_facts_and_its_weights(bag: Path) -> None:
    """The weights are the bytes that were compared, whatever the file has afterwards."""
    model = verify_model(2)
    (bag / "data" / FACTS.weights).write_bytes(b"other")
    assert (model.reference, model.facts, model.weights) == ("crabs@v1", FACTS, WEIGHTS)
    assert len(model.sha256) == 64


def test_the_bytes_that_were_hashed_are_those_that_are_kept(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is opened once: a file that changes between two readings can't be both verified and loaded."""
    opened: list[str] = []
    real = model_bag.check_bytes.__globals__["read_file"]
    monkeypatch.setitem(
        model_bag.check_bytes.__globals__, "read_file", lambda path: (opened.append(path.name), real(path))[1]
    )
    assert verify_model(1).weights == WEIGHTS
    assert opened.count(FACTS.weights) == 1


@pytest.mark.parametrize("name", [FACTS.weights, "model.json", "card.md"])
def test_a_changed_file_is_named(bag: Path, name: str) -> None:
    """One other byte in any file of the model ends the job with status 3, and the file is listed."""
    path = bag / "data" / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(MismatchError, match="does not match the manifest that this image names") as error:
        verify_model(2)
    assert error.value.details == (f"changed  data/{name}",)
    assert error.value.exit_code == 3


def test_a_missing_and_an_additional_file(bag: Path) -> None:
    """Both are listed."""
    (bag / "data" / "card.md").unlink()
    (bag / "data" / "more.bin").write_bytes(b"")
    with pytest.raises(MismatchError) as error:
        verify_model(2)
    assert error.value.details == ("missing  data/card.md", "extra    data/more.bin")


def test_another_model_is_not_the_one_in_the_image(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bag that is sound, but has another digest than the environment says, is refused."""
    expected = "sha256:" + "0" * 64
    monkeypatch.setenv("DATAPACK_DIGEST", expected)
    with pytest.raises(MismatchError, match=f"not the one that this image names.*expected {expected}"):
        verify_model(2)


@pytest.mark.parametrize("digest", ["", "sha256:12", "md5:0"])
def test_without_a_digest_nothing_is_verified(bag: Path, monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    """A missing or malformed digest is an error of the environment."""
    monkeypatch.setenv("DATAPACK_DIGEST", digest)
    with pytest.raises(ConfigError, match="no digest of the model"):
        verify_model(2)


def test_without_a_manifest_nothing_is_verified(bag: Path) -> None:
    """A bag without its manifest is damaged."""
    (bag / "manifest-sha256.txt").unlink()
    with pytest.raises(MismatchError):
        verify_model(2)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"model.json": b'{"form": 2}', FACTS.weights: b"w"}, "not a model.json"),
        ({"model.json": b"[]", FACTS.weights: b"w"}, "not a model.json"),
        ({FACTS.weights: b"w"}, "does not say what it is"),
        ({"model.json": FACTS.to_json(), "other.pth": b"w"}, "there are no weights"),
        ({"model.json": ModelFacts("x", "w").to_json().replace(b'"w"', b'"../w"'), "w": b"w"}, "model.json|no weights"),
    ],
)
def test_a_model_json_of_another_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], why: str
) -> None:
    """It is one clear line."""
    monkeypatch.setenv("DATAPACK_DIGEST", write_bag(tmp_path / "bag", files))
    monkeypatch.setenv("TRAINERS_MODEL", str(tmp_path / "bag"))
    with pytest.raises(ConfigError, match=why):
        verify_model(2)
