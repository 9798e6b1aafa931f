"""The configuration: all keys but two have defaults, and a mistake is one line that names its place."""

import re

import pytest
import yaml

from tests.trainers.havens import PROJECT
from trainers import config
from trainers.config.__main__ import table
from trainers.errors import ConfigError

LEAST = {"dataset": "reef/v1", "digest": "sha256:" + "a" * 64}


def load(tmp_path, content):
    path = tmp_path / "train.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return config.load(path)


def refused(tmp_path, content) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    return str(caught.value)


def test_only_the_dataset_and_its_digest_have_no_default(tmp_path):
    """Two lines make a configuration; everything else has a default."""
    loaded = load(tmp_path, LEAST)
    assert loaded.verify == "full"
    assert loaded.device == "cuda"
    assert not loaded.report.samples


@pytest.mark.parametrize("key", ["dataset", "digest"])
def test_a_key_without_a_default_is_required(tmp_path, key):
    """A configuration without a digest or a dataset is refused."""
    line = refused(tmp_path, {name: value for name, value in LEAST.items() if name != key})
    assert f": {key}: missing: it has no default" in line


def test_an_unknown_key_names_its_line_and_the_nearest_key(tmp_path):
    """A misspelt key is an error that names the key, its line and the most similar key."""
    line = refused(tmp_path, f"dataset: reef\ndigest: {LEAST['digest']}\ntraining:\n  epocs: 3\n")
    assert "train.yml:4: training.epocs: unknown key: expected one of epochs, " in line
    assert line.endswith("did you mean 'epochs'?")


def test_a_duplicate_key_names_both_lines(tmp_path):
    """YAML forbids a key that appears twice, in any section; the error names the key and both of its lines."""
    head = f"dataset: reef\ndigest: {LEAST['digest']}\n"
    line = refused(tmp_path, f"{head}seed: 1\nseed: 2\n")
    assert "train.yml:4: duplicate key seed: found the first one on line 3" in line
    line = refused(tmp_path, f"{head}training:\n  epochs: 3\n  batch_size: 2\n  epochs: 4\n")
    assert "train.yml:6: duplicate key training.epochs: found the first one on line 4" in line


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ({"training": {"learning_rate": -0.1}}, "training.learning_rate: invalid value: expected greater than 0"),
        ({"training": {"learning_rate": "fast"}}, "expected a valid number, found 'fast'"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"training": {"epochs": 1.5}}, "training.epochs"),
        ({"training": {"epochs": "3"}}, "training.epochs"),
        ({"training": {"channels_last": "yes"}}, "training.channels_last"),
        ({"training": 3}, "training"),
        ({"model": {"name": "yolo"}}, "model.name: invalid value: expected 'fasterrcnn_resnet50_fpn'"),
        ({"data": {"train": "../secret.json"}}, "without '..'"),
        ({"data": {"train": "/etc/passwd"}}, "data.train"),
        ({"run": "../other"}, "a folder name"),
        ({"augmentation": {"scale": [1, 0]}}, "augmentation.scale"),
        ({"augmentation": {"scale": [1.5, 0.5]}}, "augmentation.scale"),
        ({"image": {"min_size": 800, "max_size": 600}}, "max_size"),
        ({"digest": "sha256:" + "A" * 64}, "not a dataset digest"),
        ({"seed": -1}, "seed"),
        ({"image": {"max_size": 3_000_000_000}}, "image.max_size"),
        ({"workers": 10**9}, "workers"),
        ({"training": {"epochs": 10**400}}, "training.epochs: invalid value: expected less than or equal to 1000000"),
        ({"training": {"batch_size": 10**400}}, "training.batch_size"),
        ({"data": {"skip_broken": None}}, "data.skip_broken: invalid value: expected a list, found null"),
        ({"seed": True}, "expected a valid integer, found true"),
    ],
)
def test_an_invalid_value_says_what_is_valid(tmp_path, section, found):
    """A wrong type, a negative rate or a path out of the dataset is one line: key, expected, found."""
    assert found in refused(tmp_path, {**LEAST, **section})


def test_all_mistakes_are_reported_together(tmp_path):
    """Two mistakes are two lines of one error."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {**LEAST, "sed": 1, "verify": "maybe"})
    assert len(caught.value.details) == 2


@pytest.mark.parametrize("content", ["", "[1, 2]", "a: [", "a: *b", "\x00", "!!python/object:os.system {}"])
def test_a_file_that_is_no_configuration_is_a_clear_error(tmp_path, content):
    """An empty file, a list or broken YAML is one line with the file's name; no code in it is run."""
    assert "train.yml" in refused(tmp_path, content)


def test_a_missing_file_says_what_to_do(tmp_path):
    """The error says whether the file or its folder is missing."""
    with pytest.raises(ConfigError, match=r"put a .* there"):
        config.load(tmp_path / "train.yml")
    with pytest.raises(ConfigError, match=r"mount the folder with your data at .*/safe_data"):
        config.load(tmp_path / "safe_data" / "train.yml")


def test_the_file_is_named_by_option_variable_or_default(tmp_path, monkeypatch):
    """--config takes precedence over TRAINERS_CONFIG, which takes precedence over /safe_data/train.yml."""
    monkeypatch.delenv(config.VARIABLE, raising=False)
    assert str(config.find(None)) == "/safe_data/train.yml"
    monkeypatch.setenv(config.VARIABLE, "/elsewhere.yml")
    assert str(config.find(None)) == "/elsewhere.yml"
    assert config.find(tmp_path) == tmp_path


def test_the_configuration_determines_the_run_name(tmp_path):
    """Only a change that affects the result changes the name of the run."""
    name = load(tmp_path, LEAST).run_name
    assert name.startswith("reef-v1-fasterrcnn_resnet50_fpn_v2-")
    assert load(tmp_path, {**LEAST, "workers": 3}).run_name == name
    assert load(tmp_path, {**LEAST, "training": {"max_hours": 3}}).run_name == name
    assert load(tmp_path, {**LEAST, "seed": 3}).run_name != name
    assert load(tmp_path, {**LEAST, "run": "mine"}).run_name == "mine"


def test_the_reference_is_generated_from_the_sections():
    """The tables in docs/reference/configuration.md are up to date, and every key has a description."""
    page = (PROJECT / "docs/reference/configuration.md").read_text()
    written = page.partition("from trainers/config/sections.py -->\n")[2]
    assert written == f"{table()}\n"
    assert not re.search(r"\|\s*\|$", written, re.MULTILINE)


def test_the_example_in_the_docs_is_valid(tmp_path):
    """The configuration in docs/guides/training.md is accepted."""
    example = (PROJECT / "docs/guides/training.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    assert load(tmp_path, example.replace("sha256:...", LEAST["digest"])).training.max_hours == 5.5


def test_words_are_text_without_quotes(tmp_path):
    """`off` is a word here, not the boolean of YAML 1.1; a number in the place of text says how to make it text."""
    head = f"dataset: reef/v1\ndigest: {LEAST['digest']}\n"
    assert load(tmp_path, f"{head}image: {{cache: off}}\n").image.cache == "off"
    assert load(tmp_path, f"{head}run: no\n").run == "no"
    assert refused(tmp_path, f"{head}run: 2024\n").endswith("expected a valid string, found 2024; put it in quotes")
    assert refused(tmp_path, f"{head}run: true\n").endswith("expected a valid string, found true; put it in quotes")
    assert "expected 'auto' or 'off', found true" in refused(tmp_path, f"{head}image: {{cache: true}}\n")
