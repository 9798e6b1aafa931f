"""The settings of `predict` in a ready-to-run model."""

from pathlib import Path

import pytest

from trainers.config.prediction import Prediction, find_prediction, load_prediction
from trainers.errors import ConfigError


def test_nothing_need_be_written():
    """Without a file, every setting has its default; arguments change single ones."""
    assert load_prediction(None) == Prediction()
    changed = load_prediction(None, ["device=cpu", "score=0.05", "workers=2", "run=again", "samples=true"])
    assert (changed.device, changed.score, changed.workers, changed.run) == ("cpu", 0.05, 2, "again")
    assert changed.samples is True


def test_arguments_come_after_the_file(tmp_path):
    """An argument overrides the file, and the file the defaults."""
    (tmp_path / "predict.yml").write_text("score: 0.3\nbatch_size: 2\n")
    settings = load_prediction(tmp_path / "predict.yml", ["score=0.4"])
    assert (settings.score, settings.batch_size, settings.device) == (0.4, 2, "cuda")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("device", "not a setting"),
        ("scor=1", "not a setting: expected KEY=VALUE, with one of images, score"),
        ("score=2", "invalid value: expected less than or equal to 1"),
        ("score=high", "invalid value"),
        ("device=tpu", "invalid value: expected 'cuda' or 'cpu'"),
        ("images=../other", "invalid value: expected a path below"),
        ("run=a/b", "invalid value: expected a folder name"),
        ("score=[", "not a value"),
    ],
)
def test_a_wrong_argument_is_one_line(change, why):
    """It says what the argument is, and what it can be."""
    with pytest.raises(ConfigError) as error:
        load_prediction(None, [change])
    assert why in str(error.value)
    assert str(error.value).startswith(f"--set {change}: ")


def test_a_mistake_in_the_file_names_its_line(tmp_path):
    """As in train.yml."""
    (tmp_path / "predict.yml").write_text("score: 0.3\nbatchsize: 2\n")
    with pytest.raises(ConfigError, match=r"predict.yml:2.*unknown key.*did you mean 'batch_size'"):
        load_prediction(tmp_path / "predict.yml")


def test_where_the_settings_are(tmp_path, monkeypatch):
    """The command line comes first, then the environment, then /safe_data/predict.yml, if it is there."""
    monkeypatch.delenv("TRAINERS_CONFIG", raising=False)
    assert find_prediction(None) is None
    monkeypatch.setenv("TRAINERS_CONFIG", "/somewhere/predict.yml")
    assert find_prediction(None) == Path("/somewhere/predict.yml")
    assert find_prediction(Path("mine.yml")) == Path("mine.yml")
