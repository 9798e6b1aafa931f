"""`model.safetensors`: what is in it, and what is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load, save

from datapack.hashing import hash_file
from trainers.config import Config
from trainers.errors import ConfigError, TrainingError
from trainers.run.folder import Run
from trainers.training.checkpoint import split_facts
from trainers.training.jobs import read_model
from trainers.training.model_file import ModelInfo, SafetensorsFile, TrainedModel, readable, save_model

DIGEST = "sha256:" + "1" * 64
TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(4, np.int64)}


def config(**model: object) -> Config:
    image = {"min_size": 64, "max_size": 64}
    return Config.model_validate({"dataset": "reef/v1", "digest": DIGEST, "image": image, "model": model})


INFO = ModelInfo(
    framework="pytorch",
    name="fasterrcnn_resnet50_fpn_v2",
    categories=((3, "red"), (8, "grün")),
    min_size=64,
    max_size=64,
    reference="reef@v1",
    digest=DIGEST,
    split=split_facts(config()),
)


@pytest.fixture
def run(tmp_path) -> Run:
    run = Run(tmp_path / "run")
    run.open()
    return run


def test_a_model_is_readable_by_others(run):
    """The metadata has one key of canonical JSON, and the same model gives the same bytes."""
    digest = save_model(run, save(TENSORS, INFO.to_metadata()))
    path = run.path("model.safetensors")
    assert digest == hash_file(path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"].keys() == {"trainers"}
    text = header["__metadata__"]["trainers"]
    assert json.loads(text) == {
        "form": 1,
        "framework": "pytorch",
        "name": "fasterrcnn_resnet50_fpn_v2",
        "categories": [[3, "red"], [8, "grün"]],
        "min_size": 64,
        "max_size": 64,
        "dataset": {"reference": "reef@v1", "digest": DIGEST},
        "split": {
            "seed": 0,
            "data.train": "train.json",
            "data.images": "images/train",
            "data.validation": 0.2,
            "data.sequences": "url",
            "data.skip_broken": [],
        },
    }
    assert text == json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    again = save_model(run, save(dict(reversed(TENSORS.items())), replace(INFO).to_metadata()))
    assert again == digest


def test_a_model_comes_back_as_it_was(run):
    """The facts and the tensors are those that were saved, and the digest is the file's."""
    save_model(run, save(TENSORS, INFO.to_metadata()))
    trained = read_model(config(), run.path("model.safetensors"))
    assert trained.info == INFO
    assert trained.file.digest == f"sha256:{hash_file(trained.path)}"
    found = load(trained.file.content)
    assert found.keys() == TENSORS.keys()
    assert all(np.array_equal(found[name], TENSORS[name]) for name in found)


def with_header(header: object, rest: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + rest


def place(start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - start) // 4], "data_offsets": [start, end]}


NESTED = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BROKEN = {
    "an empty file": (b"", "not a safetensors file: found an empty file"),
    "a few bytes": (b"\x10\0\0", "not a safetensors file: found something else"),
    "a ZIP file, as torch writes": (
        b"PK\x03\x04" + bytes(60),
        "not a safetensors file: found a file that torch.save wrote",
    ),
    "a header of 4 GB": (
        with_header({}, bytes(90), 1 << 32),
        r"cut short or damaged: found a header of 4,294,967,296 bytes in a file of",
    ),
    "a header of 2**64": (with_header({}, bytes(90), (1 << 64) - 1), "cut short or damaged"),
    "a truncated header": (with_header({"a": place(0, 4)})[:30], "cut short or damaged"),
    "a header that is no JSON": (with_header(b'{"a": what}'), "not valid JSON"),
    "a header with a key twice": (with_header(b'{"a": {}, "a": {}}'), "not valid JSON"),
    "a header that is nested deeply": (with_header(NESTED), "nested too deeply"),
    "truncated tensors": (with_header({"a": place(0, 8)}, bytes(4)), r"is cut short: expected \d+ bytes, found \d+$"),
    "padded tensors": (with_header({"a": place(0, 8)}, bytes(12)), "has bytes that belong to no tensor: expected"),
    "tensors that overlap": (with_header({"a": place(0, 8), "b": place(4, 12)}, bytes(12)), "is damaged: found"),
    "a hole between tensors": (with_header({"a": place(0, 4), "b": place(8, 12)}, bytes(12)), "is damaged: found"),
    "a tensor without a place": (with_header({"a": {"dtype": "F32"}}), "is damaged: found a tensor without a place"),
    "a place that is no number": (with_header({"a": {"data_offsets": [0, "x"]}}), "without a place"),
    "another size than the shape's": (with_header({"a": place(0, 8) | {"shape": [9]}}, bytes(8)), "is damaged: found"),
    "numbers of a type that nobody knows": (with_header({"a": place(0, 4, "F99")}, bytes(4)), "is damaged: found"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_line(tmp_path, kind):
    """Whatever is wrong with the file, the error names it and says what, in one line."""
    content, says = BROKEN[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=says) as caught, readable(path):
        load(SafetensorsFile.read(path).content)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_huge_padded_file_is_not_read(tmp_path):
    """Its size is compared with the header first: a terabyte of nothing takes no memory."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(with_header({"a": place(0, 8)}, bytes(8)))
    os.truncate(path, 1 << 40)
    with pytest.raises(ConfigError, match="has bytes that belong to no tensor"):
        SafetensorsFile.read(path)


def written(path: Path, text: str | None) -> Path:
    path.write_bytes(save(TENSORS, None if text is None else {"trainers": text}))
    return path


def changed(**changes: object) -> str:
    return json.dumps(json.loads(INFO.to_metadata()["trainers"]) | changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "not a model of the trainers: expected trainers in its metadata; a weights file alone"),
        ("no JSON", "not valid JSON"),
        ("[1]", "does not say what it is: expected form 1 of trainers, found TypeError"),
        ("{}", "does not say what it is: .*'form'"),
        (changed(form=2), "form 2, of another version of the trainers"),
        (changed(categories=3), "does not say what it is"),
        (changed(categories=[[1]]), "does not say what it is"),
        (changed(categories=[["a", "b"]]), "does not say what it is.*'a' is not of the type int"),
        (changed(categories=None), "does not say what it is"),
        (changed(split="all"), "does not say what it is.*split is not a mapping"),
        (changed(dataset="reef"), "does not say what it is"),
        (changed(min_size=True), "does not say what it is.*True is not of the type int"),
        (changed(framework="keras"), "for another framework: expected one for pytorch, found keras, fasterrcnn"),
        (changed(name="fcos_resnet50_fpn"), r"another configuration: .*fasterrcnn_resnet50_fpn_v2,.*found.*fcos"),
        (changed(min_size=32), r"another configuration: .*image.min_size 64.*found.*image.min_size 32"),
        (changed(name="\x1b[2J\u202e"), r"another configuration"),
    ],
    ids=str,
)
def test_another_model_is_one_line(tmp_path, text, says):
    """A file without facts, with damaged ones, or with those of another model is refused."""
    path = written(tmp_path / "model.safetensors", text)
    with pytest.raises(ConfigError, match=says) as caught:
        read_model(config(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_only_a_regular_file_is_read(tmp_path, make):
    """A folder or a pipe is an error, not a wait."""
    make(tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        TrainedModel.read(tmp_path / "model.safetensors", "pytorch")


def test_without_room_the_earlier_model_stays(run, monkeypatch):
    """Free space is checked before the first byte, and nothing else is left."""
    before = save_model(run, save(TENSORS, INFO.to_metadata()))
    monkeypatch.setattr("datapack.files.shutil.disk_usage", lambda _: SimpleNamespace(free=60_000))
    with pytest.raises(TrainingError, match=r"not enough space on the disk: expected .* found 60 kB free; make room"):
        save_model(run, save({"a": np.zeros(100_000)}, INFO.to_metadata()))
    assert hash_file(run.path("model.safetensors")) == before
    assert [path.name for path in run.folder.iterdir()] == ["model.safetensors"]
