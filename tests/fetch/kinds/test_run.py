"""A finished training as a model: verified files, and facts from the run's own record."""

import json
import os
import shutil

import pytest
import yaml
from safetensors.numpy import save_file

from datapack.bag.model_facts import ModelFacts, TrainedOn
from datapack.catalog.model_section import ModelSection
from datapack.catalog.sources import RunSource
from datapack.errors import FetchError
from datapack.fetch.kinds.run import TAKEN
from datapack.fetch.models.write import ModelFiles
from tests.conftest import Catalog, make_base
from tests.training_runs import DATASET, DIGEST, TENSORS, seal, write_run
from tests.workplace import Workplace

CATALOG = """\
defaults: {base: "oci:base"}
datasets:
  net:
    kind: model
    title: A net
    licence: MIT
    versions:
      v1:
        sources:
          - run: runs/r1
"""
OTHER = f"sha256:{'e' * 64}"


@pytest.fixture
def catalog(tmp_path):
    """A catalog with a model that is made from a run."""
    root = tmp_path / "catalog"
    root.mkdir()
    make_base(root / "base")
    (root / "datasets.yml").write_text(CATALOG)
    return Catalog(root)


@pytest.fixture
def place(tmp_path):
    """A folder in which sources are fetched, without a catalog."""
    return Workplace(tmp_path)


def refusal(place: Workplace, model: ModelFiles | None = None) -> str:
    """Return the one line that says why the run is refused."""
    with pytest.raises(FetchError) as error:
        place.fetch(RunSource(run="runs/r1"), model=model)
    assert "\n" not in str(error.value)
    return str(error.value)


def say(catalog: Catalog, section: str) -> None:
    """Let the catalog say something about the model too."""
    (catalog.root / "datasets.yml").write_text(f"{CATALOG}        model: {section}\n")


def facts(catalog: Catalog) -> ModelFacts:
    return ModelFacts.parse((catalog.root / "data/net/v1/data/model.json").read_bytes(), "model.json")


def test_the_run_says_what_the_model_is(catalog):
    """Only the model, its record and its evaluation are taken; the facts are those that the trainers wrote."""
    write_run(catalog.root / "runs/r1")
    catalog.ok("fetch", "net@v1")
    payload = catalog.root / "data/net/v1/data"
    assert sorted(path.name for path in payload.iterdir()) == [
        "coco_eval.json",
        "model.json",
        "model.safetensors",
        "run.json",
    ]
    assert facts(catalog) == ModelFacts(
        architecture="fasterrcnn_resnet50_fpn",
        weights="model.safetensors",
        categories=((2, "crab"), (5, "fish")),
        min_size=64,
        max_size=96,
        trained_on=TrainedOn(reference="reef@v1", digest=DIGEST),
        metrics={"mAP": 0.4125, "mAP50": 0.703},
        licence="MIT",
    )
    catalog.ok("build", "net@v1")
    catalog.ok("verify", "net@v1")


def test_the_same_run_gives_the_same_digest_anywhere(catalog, tmp_path):
    """Neither the folder's name nor the time of a copy is in the payload."""
    write_run(catalog.root / "runs/r1")
    first = json.loads(catalog.ok("fetch", "net@v1", "--json"))["digest"]
    other = Catalog(tmp_path / "other")
    shutil.copytree(catalog.root, other.root, ignore=shutil.ignore_patterns("data", ".datapack", "datasets.lock"))
    (other.root / "runs/r1").rename(other.root / "r2")
    text = CATALOG.replace("runs/r1", "r2")
    (other.root / "datasets.yml").write_text(text)
    assert json.loads(other.ok("fetch", "net@v1", "--json"))["digest"] == first


def test_a_folder_of_the_payload_and_a_run_elsewhere(catalog, tmp_path):
    """With `into` the paths in the facts change; a run outside must be allowed, and a note says what that means."""
    run = write_run(tmp_path / "safe_outputs/r1")
    text = CATALOG.replace("run: runs/r1", f"run: {run}\n            outside: true\n            into: best")
    (catalog.root / "datasets.yml").write_text(text)
    done = catalog.run("fetch", "net@v1")
    assert done.returncode == 0, done.stderr
    assert "outside the catalog's folder, so others can't rebuild the version from there" in done.stderr
    assert facts(catalog).weights == "best/model.safetensors"
    assert not (catalog.root / "data/net/v1/data/model.safetensors").exists()


def test_what_the_catalog_also_says_must_agree(catalog):
    """Other facts leave nothing under a final name; the same are accepted, and what the run does not know is added."""
    write_run(catalog.root / "runs/r1")
    say(catalog, "{trained_on: COCO}")
    assert "net@v1: trained_on does not match the run" in catalog.fails("fetch", "net@v1")
    assert not (catalog.root / "data/net/v1").exists()
    assert catalog.leftovers() == []
    said = "architecture: fasterrcnn_resnet50_fpn, categories: {2: crab, 5: fish}, input: {max_size: 96}"
    on = f'trained_on: {{dataset: reef@v1, digest: "{DIGEST}"}}'
    say(catalog, f"{{{said}, {on}, metrics: {{mAP: 0.412, AR: 0.5}}}}")
    catalog.ok("fetch", "net@v1")
    assert facts(catalog).metrics == {"mAP": 0.4125, "mAP50": 0.703, "AR": 0.5}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (
            f'{{trained_on: {{dataset: reef@v1, digest: "{OTHER}"}}}}',
            f"net@v1: trained_on does not match the run: expected reef@v1 {OTHER}, found reef@v1 {DIGEST}",
        ),
        ("{trained_on: COCO}", f"trained_on does not match the run: expected COCO, found reef@v1 {DIGEST}"),
        ("{architecture: ssd}", "architecture does not match the run: expected ssd, found fasterrcnn_resnet50_fpn"),
        ("{categories: [crab, fish]}", "categories does not match the run: expected 1 crab, 2 fish, found 2 crab, 5"),
        ("{input: {min_size: 65}}", "min_size does not match the run: expected 65, found 64"),
        ("{metrics: {mAP: 0.5}}", "mAP does not match the run: expected 0.5, found 0.4125"),
        ("{weights: coco_eval.json}", "weights does not match the run: expected coco_eval.json, found model.safe"),
        ("{card: README.md}", "net@v1: card: README.md: no such file in the payload; add it to the sources"),
    ],
)
def test_a_contradiction_is_one_clear_line(place, section, says):
    """Nobody can pass a model off as one that was trained on other data."""
    write_run(place.root / "catalog/runs/r1")
    said = ModelSection.model_validate(yaml.safe_load(section))
    assert says in refusal(place, ModelFiles(said, "MIT", "net@v1"))


def old_model(run):
    (run / "model.safetensors").rename(run / "model.pt")
    seal(run)


def changed_model(run):
    """Change a byte of the weights; size and time stay."""
    path = run / "model.safetensors"
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def other_tensors(run):
    """A weights file that the trainers did not write."""
    save_file(TENSORS, run / "model.safetensors")
    seal(run)


def link(run):
    (run / "coco_eval.json").rename(run.parent / "elsewhere.json")
    (run / "coco_eval.json").symlink_to(run.parent / "elsewhere.json")


def other_key(run):
    (run / "run.json").write_text('{"outcome": "ok"}')
    seal(run)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, "run runs/r1: no such folder: expected the folder of a finished training, with model"),
        (lambda run: (run / "run.json").unlink(), "run runs/r1: a folder that is not a run: expected the folder of a"),
        (lambda run: (run / "manifest-sha256.txt").unlink(), "the run has no manifest-sha256.txt, so it can't be"),
        (old_model, "the run has no model.safetensors: found a model.pt of older trainers; train again: a model"),
        (changed_model, "the run is not what its manifest says: found changed: model.safetensors; copy the run again"),
        (lambda run: (run / "log.txt").write_text("x"), "the run is not what its manifest says: found changed: log."),
        (lambda run: (run / "report.html").unlink(), "files of the run are missing: found report.html; copy"),
        (lambda run: (run / "more.txt").write_text("x"), "its manifest does not name every file: found more.txt"),
        (link, "run runs/r1: not a regular file: found coco_eval.json"),
        (other_tensors, "model.safetensors is not a model of the trainers: found no 'trainers' in its metadata"),
        (other_key, "run runs/r1: run.json: not what the trainers write: found model: Field required; name the"),
        (lambda run: (run / "run.json").write_text("{"), "run.json:1: not valid JSON"),
    ],
)
def test_a_spoilt_run_is_refused_with_one_line(place, spoil, says):
    """It must be whole, finished, and what the trainers wrote."""
    spoil(write_run(place.root / "catalog/runs/r1"))
    assert says in refusal(place)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"outcome": "running"}, "the training has not ended well: expected outcome ok, found running; let"),
        ({"outcome": "failed", "reason": "the disk is\nfull"}, "found failed: the disk is full; let the training"),
        ({"model": "ssd"}, f"of different trainings: expected ssd trained on reef@v1 {DIGEST}, found fasterrcnn"),
        ({"dataset": {**DATASET, "digest": OTHER}}, f"trained on reef@v1 {OTHER}, found fasterrcnn_resnet50_fpn trai"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(place, record, says):
    """Of a training that has not ended, or of another one."""
    write_run(place.root / "catalog/runs/r1", record=record)
    assert says in refusal(place)


@pytest.mark.parametrize(
    "model", [{"form": 2}, {"categories": []}, {"categories": [["1", "a"]]}, {"min_size": 0}, {"dataset": {}}]
)
def test_a_model_of_another_form_is_refused(place, model):
    """The facts of a later version of the trainers are not guessed."""
    write_run(place.root / "catalog/runs/r1", model=model)
    assert "run runs/r1: model.safetensors: not what the trainers write: found " in refusal(place)


def test_a_run_that_was_copied_again_is_taken(place):
    """A failed fetch leaves nothing that a later one would take for the new run."""
    run = write_run(place.root / "catalog/runs/r1")
    changed_model(run)
    assert "changed: model.safetensors" in refusal(place)
    shutil.rmtree(run)
    write_run(run)
    assert len(place.fetch(RunSource(run="runs/r1")).hashes) == len(TAKEN)


def test_plan_and_show_name_the_run(catalog):
    """They work before anything is fetched, and after it."""
    write_run(catalog.root / "runs/r1")
    assert "run runs/r1" in catalog.ok("plan", "net@v1")
    assert "run runs/r1" in catalog.ok("show", "net@v1")
    catalog.ok("fetch", "net@v1")
    done = catalog.run("fetch", "net@v1")
    assert "--refresh reads its sources again" in done.stderr
