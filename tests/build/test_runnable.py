"""`datapack build --runnable`: the weights of a model on a trainer image, in an image that is ready to run."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from datapack.oci.layout import Layout
from tests.conftest import Catalog, fact, make_base
from tests.models import make_trainer, safetensors
from tests.verify.forging import Forged, archive, entry, parents

CATALOG = """\
defaults: {base: "oci:base", registry: ghcr.io/example}
datasets:
  crabs:
    kind: model
    title: A crab detector
    licence: CC0-1.0
    versions:
      v1:
        model: {architecture: own_detector, categories: [crab, fish], input: {min_size: 64, max_size: 96}}
        sources: [{local: model}]
  reef:
    title: A reef
    licence: CC0-1.0
    versions: {v1: {sources: [{local: model}]}}
"""


def make_models(root) -> Catalog:
    root.mkdir()
    (root / "model").mkdir()
    (root / "model" / "detector.safetensors").write_bytes(safetensors(2_000_000))
    (root / "datasets.yml").write_text(CATALOG)
    make_base(root / "base")
    make_trainer(root / "trainer")
    return Catalog(root)


@pytest.fixture(scope="module")
def both_once(tmp_path_factory):
    """A catalog with both images of a model, to be copied."""
    catalog = make_models(tmp_path_factory.mktemp("models") / "catalog")
    catalog.ok("build", "crabs@v1")
    catalog.ok("build", "crabs@v1", "--runnable", "oci:trainer")
    return catalog


@pytest.fixture
def both(both_once, tmp_path):
    return both_once.copy(tmp_path / "catalog")


def manifest_of(catalog, name):
    layout = Layout(catalog.root / name)
    return json.loads(layout.blob(layout.image().digest).read_bytes())


def config_of(catalog, name):
    config = manifest_of(catalog, name)["config"]["digest"]
    return json.loads(Layout(catalog.root / name).blob(config).read_bytes())


def test_it_has_the_layers_of_the_trainer_and_of_the_import_container(both):
    """The trainer's compressed layers come first, unchanged; then exactly the data and tag layers of the import."""
    trainer, plain, run = (
        manifest_of(both, name)["layers"] for name in ("trainer", "dist/crabs-v1", "dist/crabs-v1-run")
    )
    assert run[: len(trainer)] == trainer
    assert run[len(trainer) :] == plain[2:]


def test_it_starts_the_trainers_with_the_model(both):
    """Entrypoint, user, folder and environment are the trainer's; the command is predict; the labels say what it is."""
    theirs, ours = (config_of(both, name)["config"] for name in ("trainer", "dist/crabs-v1-run"))
    digest = yaml.safe_load((both.root / "datasets.lock").read_text())["crabs@v1"]["digest"]
    assert {key: ours[key] for key in ("Entrypoint", "User", "WorkingDir")} == {
        key: theirs[key] for key in ("Entrypoint", "User", "WorkingDir")
    }
    assert ours["Cmd"] == ["predict"]
    added = ["DATAPACK_DATASET=crabs@v1", f"DATAPACK_DIGEST={digest}", "TRAINERS_MODEL=/dataset/crabs"]
    assert ours["Env"] == [*theirs["Env"], *added]
    labels = ours["Labels"]
    assert labels["io.github.datapack.runnable"] == "true"
    assert labels["org.opencontainers.image.title"] == "A crab detector"
    assert labels["org.opencontainers.image.licenses"] == "CC0-1.0"
    assert labels["io.github.datapack.dataset.digest"] == digest
    assert labels["org.opencontainers.image.description"].startswith("a ready-to-run model")
    assert "org.opencontainers.image.base.name" not in labels  # it is the trainer's own base


def test_it_is_the_same_on_any_machine(both, tmp_path):
    """A build elsewhere gives the same image, bit for bit; its blobs hold the data once."""
    other = make_models(tmp_path / "elsewhere")
    other.ok("build", "crabs@v1", "--runnable", "oci:trainer")
    assert (both.root / "dist/crabs-v1-run/index.json").read_bytes() == (
        other.root / "dist/crabs-v1-run/index.json"
    ).read_bytes()


def test_the_weights_are_on_the_disk_once(both):
    """The large layers of both images are one file; without one image the other is whole."""
    plain, run = (Layout(both.root / "dist" / name) for name in ("crabs-v1", "crabs-v1-run"))
    shared = [layer["digest"] for layer in manifest_of(both, "dist/crabs-v1")["layers"] if layer["size"] > 1 << 20]
    assert shared
    assert all(plain.blob(digest).samefile(run.blob(digest)) for digest in shared)
    shutil.rmtree(plain.root)
    assert "verified, every byte" in both.ok("verify", "oci:dist/crabs-v1-run")


def test_a_damaged_blob_is_not_linked(both):
    """If the import container's layer has other bytes, the layer is made from the bag instead."""
    plain = Layout(both.root / "dist" / "crabs-v1")
    (shared,) = (layer["digest"] for layer in manifest_of(both, "dist/crabs-v1")["layers"] if layer["size"] > 1 << 20)
    shutil.rmtree(both.root / "dist" / "crabs-v1-run")
    content = bytearray(plain.blob(shared).read_bytes())
    content[-5000] ^= 1
    plain.blob(shared).unlink()
    plain.blob(shared).write_bytes(content)
    both.ok("build", "crabs@v1", "--runnable", "oci:trainer")
    assert "verified, every byte" in both.ok("verify", "oci:dist/crabs-v1-run")


def test_the_lock_has_both_images(both):
    """The import container's entry is as before; building either again changes nothing, and another base is refused."""
    lock = (both.root / "datasets.lock").read_bytes()
    entry = yaml.safe_load(lock)["crabs@v1"]
    assert entry["base"] != entry["runnable"]["base"]
    assert entry["images"][0]["digest"] != entry["runnable"]["digest"]
    both.ok("build", "crabs@v1")
    both.ok("build", "crabs@v1", "--runnable", "oci:trainer")
    assert (both.root / "datasets.lock").read_bytes() == lock
    make_trainer(both.root / "newer", layers=3)
    error = both.fails("build", "crabs@v1", "--runnable", "oci:newer", status=3)
    assert "the base is not the one in the lock" in error
    both.ok("build", "crabs@v1", "--runnable", "oci:newer", "--update-lock")
    after = yaml.safe_load((both.root / "datasets.lock").read_text())["crabs@v1"]
    assert after["images"] == entry["images"]
    assert after["runnable"] != entry["runnable"]


def test_verify_says_what_it_is(both, tmp_path):
    """The output calls it ready to run; outside its workspace it adds that its program was not compared."""
    output = both.ok("verify", "oci:dist/crabs-v1-run")
    assert "verified, every byte: oci:dist/crabs-v1-run: 2 files" in output
    assert "a ready-to-run model" in output
    assert "not compared" not in output
    subprocess.run(["cp", "-r", both.root / "dist/crabs-v1-run", tmp_path / "copy"], check=True)
    alone = Catalog(tmp_path)
    assert "the base in the image leaves the dataset alone, but can contain anything else" in alone.ok(
        "verify", "oci:copy"
    )
    assert "complete by names and sizes" in alone.ok("verify", "oci:copy", "--quick")
    assert json.loads(alone.ok("verify", "oci:copy", "--json"))["runnable"] is True


def test_the_provenance_is_of_this_image(both):
    """The statement beside the image names it, its trainer image, and that it was to be ready to run."""
    statement = json.loads((both.root / "dist/crabs-v1-run.provenance.json").read_bytes())
    image = Layout(both.root / "dist/crabs-v1-run").image().digest.removeprefix("sha256:")
    assert statement["subject"] == [{"name": "crabs-run:v1", "digest": {"sha256": image}}]
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["runnable"] is True
    trainer = Layout(both.root / "trainer").image().digest.removeprefix("sha256:")
    assert definition["resolvedDependencies"][0] == {"name": "base", "digest": {"sha256": trainer}}
    assert (both.root / "dist/crabs-v1.provenance.json").exists()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"Entrypoint": ["/bin/sh"]}, "starts with ['/bin/sh'], and a trainer image starts with"),
        ({"Entrypoint": None}, "has no entrypoint"),
        ({"Env": ["PATH=/bin", "DATAPACK_DIGEST=sha256:0"]}, "sets DATAPACK_DIGEST, so it has a model already"),
        ({"Env": ["PATH=/bin", "PATH=/usr/bin"]}, "sets 'PATH' twice"),
        ({"WorkingDir": "/dataset/crabs"}, "has the working directory 'dataset/crabs'"),
    ],
)
def test_a_base_that_is_no_trainer_is_one_clear_error(tmp_path, settings, why):
    """It says what the image is, and what to name instead; nothing is written."""
    catalog = make_models(tmp_path / "catalog")
    make_trainer(catalog.root / "other", **settings)
    error = catalog.fails("build", "crabs@v1", "--runnable", "oci:other")
    assert why in error
    assert "not a trainer image that a model can be added to" in error
    assert not (catalog.root / "dist").exists()


def test_the_base_of_import_containers_is_no_trainer(both):
    """Alpine, or a stand-in for it, is refused; so is a trainer image with something where the model goes."""
    assert "not a trainer image" in both.fails("build", "crabs@v1", "--runnable", "oci:base")
    make_trainer(both.root / "full", "dataset/crabs/data/model.json")
    error = both.fails("build", "crabs@v1", "--runnable", "oci:full")
    assert "has something at /dataset" in error
    make_trainer(both.root / "again")
    assert "two bases" in both.fails("build", "crabs@v1", "--runnable", "oci:again", "--base", "oci:base", status=2)


def test_a_dataset_is_no_model(tmp_path):
    """Only a version of `kind: model` has something to run; nothing is fetched or written."""
    catalog = make_models(tmp_path / "catalog")
    error = catalog.fails("build", "crabs@v1", "--runnable", "ghcr.io/you/pyt:1", status=2)
    assert error.endswith("skopeo inspect --format '{{.Digest}}' docker://ghcr.io/you/pyt:1 prints the digest\n")
    error = catalog.fails("build", "reef@v1", "--runnable", "oci:trainer", status=2)
    assert "reef@v1: not a model: only a version of 'kind: model' can be made ready to run" in error
    assert not (catalog.root / "data").exists()


def test_the_two_images_do_not_replace_each_other(both):
    """A layout or an archive of one kind is not overwritten with the other."""
    error = both.fails("build", "crabs@v1", "oci:dist/crabs-v1", "--runnable", "oci:trainer")
    assert "this layout contains another image: expected crabs@v1, ready to run" in error
    assert "contains another image: expected crabs@v1, found" in both.fails(
        "build", "crabs@v1", "oci:dist/crabs-v1-run"
    )
    both.ok("build", "crabs@v1", "oci-archive:crabs.tar", "--runnable", "oci:trainer")
    assert "found an archive of crabs-run:v1" in both.fails("build", "crabs@v1", "oci-archive:crabs.tar")
    assert "verified, every byte" in both.ok("verify", "oci-archive:crabs.tar")


def test_both_images_are_removed_together(both):
    """A version that is withdrawn is in no default target any more."""
    both.ok("remove", "crabs@v1", "--dist", "--yes")
    assert list((both.root / "dist").glob("crabs-v1*")) == []


def forged(both) -> Forged:
    return Forged.read(both.root / "dist" / "crabs-v1-run")


def problems(both, forgery: Forged) -> str:
    forgery.write()
    (both.root / "datasets.lock").unlink()
    return both.fails("verify", "oci:dist/crabs-v1-run", status=3)


def test_a_changed_weight_is_found(both):
    """A layer whose weights have one other byte is not verified, even with all digests made right."""
    image = forged(both)
    content = bytearray(image.layer(-2))
    content[len(content) // 2] ^= 1
    image.replace(-2, bytes(content))
    assert "changed" in problems(both, image)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Entrypoint", ["sh", "-c", "rm -r /safe_outputs; python -m trainers"]),
        ("Cmd", ["train"]),
        ("Volumes", {"/dataset": {}}),
        ("StopSignal", "SIGKILL"),
    ],
)
def test_an_image_that_starts_otherwise_is_not_verified(both, name, value):
    """Whatever an engine would do differently is a problem."""
    image = forged(both)
    image.runtime[name] = value
    assert f"config.{name}" in problems(both, image) or name == "Entrypoint"


@pytest.mark.parametrize("place", [-2, 2, 0])
def test_another_model_above_or_below_is_found(both, place):
    """A layer that covers the weights, or a base that already has some, is a problem."""
    path = "dataset/crabs/data/detector.safetensors"
    image = forged(both)
    image.insert(place, archive(parents(path), entry(path, b"other")))
    assert re.search("not as datapack would have made it|does not match its manifest", problems(both, image))


def test_a_history_that_names_no_layer_of_datapack_is_refused(both):
    """Where the model's layers begin must be known."""
    image = forged(both)
    image.config["history"][-1]["created_by"] = "somebody else"
    assert "its history has no step of datapack's" in problems(both, image)


def test_the_label_alone_makes_no_ready_to_run_image(both):
    """An import container that claims to be ready to run is refused."""
    image = Forged.read(both.root / "dist" / "crabs-v1")
    image.manifest["annotations"]["io.github.datapack.runnable"] = "true"
    image.runtime["Labels"]["io.github.datapack.runnable"] = "true"
    image.write()
    (both.root / "datasets.lock").unlink()
    error = both.fails("verify", "oci:dist/crabs-v1", status=3)
    assert "not as datapack would have made it" in error


def test_what_was_built_is_said(both):
    """The build says that the image is ready to run, and JSON too."""
    output = both.ok("build", "crabs@v1", "--runnable", "oci:trainer")
    assert fact(output, "image").endswith(", ready to run")
    assert fact(output, "target") == "oci:dist/crabs-v1-run"
    assert json.loads(both.ok("build", "crabs@v1", "--runnable", "oci:trainer", "--json"))["runnable"] is True


def test_show_knows_the_ready_to_run_image(both):
    """Its digest and its base are beside those of the import container."""
    locked = yaml.safe_load((both.root / "datasets.lock").read_text())["crabs@v1"]["runnable"]
    shown = json.loads(both.ok("show", "crabs@v1", "--json"))["lock"]["runnable"]
    assert shown == {"digest": locked["digest"], "base": locked["base"]}
    assert f"runnable    {locked['digest']}" in both.ok("show", "crabs@v1")
