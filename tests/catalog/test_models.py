"""Models in the catalog: `kind: model`, the section `model:`, and the error for each mistake in them."""

import json

import jsonschema
import pytest
import yaml

from datapack.bag.model_facts import ModelFacts, TrainedOn
from datapack.catalog.model import Catalog
from datapack.catalog.schema import json_schema
from datapack.errors import CatalogError
from datapack.hashing import digest_of
from datapack.reference import Reference

DIGEST = f"sha256:{'a' * 64}"
CATALOG = f"""\
defaults: {{base: "oci:base"}}
datasets:
  net:
    kind: model
    title: A net
    licence: MIT
    versions:
      v1:
        model:
          architecture: fasterrcnn_resnet50_fpn
          categories: [fish, crab]
          input: {{min_size: 800, max_size: 1333}}
          trained_on: {{dataset: reef@v1, digest: "{DIGEST}"}}
          metrics: {{mAP: 0.37}}
          card: README.md
          weights: net.safetensors
        sources: [{{local: net}}]
"""


def changed(old: str, new: str) -> str:
    assert CATALOG.count(old) == 1
    return CATALOG.replace(old, new)


def section(catalog: Catalog):
    return catalog.entry(Reference("net", "v1")).version.model


def test_every_key_becomes_a_fact(read):
    """What the section says is what `model.json` will say."""
    entry = read(CATALOG).entry(Reference("net", "v1"))
    assert entry.is_model
    said = section(read(CATALOG))
    assert said.facts(said.weights, said.listed_categories) == ModelFacts(
        architecture="fasterrcnn_resnet50_fpn",
        weights="net.safetensors",
        categories=((1, "fish"), (2, "crab")),
        min_size=800,
        max_size=1333,
        trained_on=TrainedOn(reference="reef@v1", digest=DIGEST),
        metrics={"mAP": 0.37},
        card="README.md",
    )


@pytest.mark.parametrize(
    ("categories", "listed"),
    [
        ("[fish, N/A, crab, N/A]", ((1, "fish"), (2, "N/A"), (3, "crab"), (4, "N/A"))),
        ("{7: crab, 2: fish}", ((7, "crab"), (2, "fish"))),
        ("{0: no}", ((0, "no"),)),
        ("coco/train.json", ()),
    ],
)
def test_categories_have_three_forms(read, categories, listed):
    """Names alone get ids from 1; ids keep the order in which they are written; a file is read at the fetch."""
    assert section(read(changed("[fish, crab]", categories))).listed_categories == listed


def test_a_text_says_what_no_dataset_of_datapack_is(read):
    """Most models were trained on something else."""
    old = f'{{dataset: reef@v1, digest: "{DIGEST}"}}'
    said = section(read(changed(old, "COCO 2017, train")))
    assert said.facts("x", ()).trained_on == TrainedOn(text="COCO 2017, train")


PLACE = "datasets.net.versions.v1"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: model\n", "kind: modell\n", ":4: datasets.net.kind: invalid value: expected 'dataset' or 'model'"),
        ("    kind: model\n", "", f":8: {PLACE}.model: only a model has this section; add 'kind: model' to net"),
        ("architecture:", "architekture:", f":10: {PLACE}.model: unknown key 'architekture': expected one of allow_"),
        ("card:", "carf:", "did you mean 'card'?"),
        ("          architecture: fasterrcnn_resnet50_fpn\n", "", f":9: {PLACE}.model: missing key 'architecture'"),
        ("[fish, crab]", "[]", ".categories: invalid value: expected at least one entry"),
        ("[fish, crab]", "[fish, fish]", "two categories are called 'fish': remove one of them"),
        ("[fish, crab]", "[fish, 7]", "categories[1]: invalid value: expected text, found the number 7; put it in"),
        ("[fish, crab]", "{one: fish}", "expected a category's id, a whole number"),
        ("[fish, crab]", "{-1: fish}", "expected a category's id, a whole number"),
        ("[fish, crab]", "../train.json", "can't be used as a path"),
        ("min_size: 800", "min_size: 1400", ".input: min_size 1400 is larger than max_size 1333"),
        ("min_size: 800, max_size: 1333", "", ".input: no size"),
        ("min_size: 800", "minsize: 800", ".input: unknown key 'minsize': expected one of max_size, min_size; did"),
        ("min_size: 800", "min_size: 0", ".min_size: invalid value: expected a number of at least 1"),
        (DIGEST, "sha256:abc", "digest: invalid value: expected a dataset digest, sha256: and 64 hexadecimal digits"),
        (f', digest: "{DIGEST}"', "", "trained_on: missing key 'digest'"),
        ("dataset: reef@v1", "reference: reef@v1", "trained_on: unknown key 'reference'"),
        ("mAP: 0.37", "mAP: 37.0", "mAP: invalid value: expected a number of at most 1.0, found the number 37.0"),
        ("mAP: 0.37", "mAP: .nan", "mAP: invalid value"),
        ("mAP: 0.37", "mAP: '0.37'", "mAP: invalid value"),
        ("card: README.md", "card: /README.md", "card: can't be used as a path"),
        ("card: README.md", "convert: true\n          allow_pickle: why not", "'convert' leaves no pickle"),
        ("card: README.md", "allow_pickle: true", "allow_pickle: invalid value: expected text, found true"),
        ("card: README.md", "convert: 7", "convert: invalid value: expected true or false or text, found the number 7"),
        ("{local: net}", "{run: runs/a}, {run: runs/b}", f":17: {PLACE}.sources[1]: a second run"),
        ("{local: net}", "{run: /safe_outputs/a}", ".sources[0].run: not a path below the catalog's folder"),
    ],
)
def test_mistake_is_reported_with_line_and_place(read, old, new, says):
    """A mistake gives one line: the file, the line, the place, what was expected and what was found."""
    with pytest.raises(CatalogError) as error:
        read(changed(old, new))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_dataset_as_text_needs_its_digest(read):
    """A reference alone names no content, as a version can change until it is published."""
    with pytest.raises(CatalogError, match=r"trained_on: a dataset without its digest: .* 'datapack show reef@v1' has"):
        read(changed(f'{{dataset: reef@v1, digest: "{DIGEST}"}}', "reef@v1"))


def test_only_a_run_says_itself_what_a_model_is(read):
    """Other sources need the section; a run needs `kind: model`."""
    whole = CATALOG[: CATALOG.index("        model:")]
    read(f"{whole}        sources: [{{run: runs/a}}]\n")
    with pytest.raises(CatalogError, match=rf":8: {PLACE}: missing key 'model'"):
        read(f"{whole}        sources: [{{local: net}}]\n")
    with pytest.raises(CatalogError, match=rf":8: {PLACE}.sources\[0\]: only a model can be made from a run"):
        read(f"{whole}        sources: [{{run: runs/a}}]\n".replace("    kind: model\n", ""))


def test_the_fingerprint_covers_what_model_json_says(read):
    """A changed fact, licence or order of categories makes the version stale; that of a dataset is as it ever was."""

    def fingerprint(text):
        return read(text).entry(Reference("net", "v1")).fingerprint

    ids = changed("[fish, crab]", "{1: fish, 2: crab}")
    texts = [
        CATALOG,
        changed("0.37", "0.38"),
        changed("MIT", "Apache-2.0"),
        changed("[fish, crab]", "{2: crab, 1: fish}"),
        changed("card: README.md", "allow_pickle: because"),
    ]
    assert len({fingerprint(text) for text in texts}) == len(texts)
    assert fingerprint(ids) == fingerprint(CATALOG)  # the same facts
    assert fingerprint(changed("A net", "Another net")) == fingerprint(CATALOG)  # it is not in model.json


def test_the_fingerprint_of_a_dataset_is_as_it_was_before_models(read):
    """A lock that an earlier datapack wrote still fits."""
    text = CATALOG[: CATALOG.index("        model:")].replace("    kind: model\n", "")
    found = read(f"{text}        sources: [{{local: net}}]\n").entry(Reference("net", "v1")).fingerprint
    assert found == digest_of(b'[{"local":"net"}]')


@pytest.mark.parametrize(
    ("old", "new", "fits"),
    [
        ("MIT", "MIT", True),
        ("[fish, crab]", "{1: fish}", True),
        ("[fish, crab]", "train.json", True),
        (f'{{dataset: reef@v1, digest: "{DIGEST}"}}', "COCO 2017", True),
        ("min_size: 800", "minsize: 800", False),
        ("[fish, crab]", "{one: fish}", False),
        ("mAP: 0.37", "mAP: 37.0", False),
    ],
)
def test_the_schema_agrees(read, old, new, fits):
    """An editor shows the mistakes while they are written, and no others."""
    text = changed(old, new)
    faults = list(jsonschema.Draft202012Validator(json.loads(json_schema())).iter_errors(_with_text_keys(text)))
    assert not faults if fits else faults


def _with_text_keys(text: str):
    """Return the value of a YAML text; keys are text, as an editor has them."""
    return json.loads(json.dumps(yaml.safe_load(text)))
