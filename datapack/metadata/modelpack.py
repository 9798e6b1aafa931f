"""The ModelPack manifest of a model: what CNCF's tools for models read, made of layers that the image has already.

An OCI manifest of the CNCF ModelPack specification (https://github.com/modelpack/model-spec, 0.0.7) whose layers are
those of the payload and the tag files, under ModelPack's media types. Nothing is packed or sent again. It contains no
time and nothing about the machine: the same model gives the same bytes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from datapack.bag.manifest import PAYLOAD
from datapack.errors import WeightsError
from datapack.image.config import DIGEST_LABEL, STANDARD, dataset_folder
from datapack.oci.blob import Blob
from datapack.oci.spec import canonical_json
from datapack.registry.referrers import Artifact
from datapack.weights.read import read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from datapack.bag.bagit import Bag
    from datapack.bag.model_facts import ModelFacts
    from datapack.catalog.model import Entry
    from datapack.image.config import Image
    from datapack.image.layers import Layer
    from datapack.oci.spec import Descriptor
    from datapack.weights.model import WeightsFile

MODEL_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHT = "application/vnd.cncf.model.weight.v1.tar"  # the media types of layers
WEIGHT_CONFIG = "application/vnd.cncf.model.weight.config.v1.tar"
DOC = "application/vnd.cncf.model.doc.v1.tar"
FILEPATH = "org.cncf.model.filepath"
TRAINED_ON = "io.github.datapack.model.trained-on"
_DOCUMENTS = (".md", ".txt", ".pdf", ".html", ".rst")  # how the names of files for people end
_FORMATS = {"safetensors": "safetensors", "ONNX": "onnx", "Keras": "keras", "HDF5": "keras"}
_PRECISIONS = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_SCALES = ((10**15, "Q"), (10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


def modelpack(
    entry: Entry, facts: ModelFacts, bag: Bag, image: Image, layers: Sequence[Layer], descriptors: Sequence[Descriptor]
) -> Artifact:
    """Return the manifest, as something to attach to a model's image.

    Args:
        entry: the model in the catalog.
        facts: what its weights are.
        bag: its bag, which was packed.
        image: the image.
        layers: the layers above the base, lowest first.
        descriptors: the same layers as written. They are uncompressed, so digest and diff_id are the same.
    """
    folder = dataset_folder(entry.reference)
    reused = [
        (described, found)
        for layer, described in zip(layers, descriptors, strict=True)
        if (found := _describe(layer, folder, facts))
    ]
    config = {
        "descriptor": _descriptor(entry, facts),
        "config": _config(facts, bag),
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer, _ in reused]},
    }
    return Artifact(
        name="ModelPack manifest",
        type=MODEL_MANIFEST,
        layers=tuple({**layer.to_json(), **found} for layer, found in reused),
        blobs=(),
        annotations=_annotations(facts, image),
        config=Blob.of(MODEL_CONFIG, canonical_json(config)),
    )


def _describe(layer: Layer, folder: str, facts: ModelFacts) -> dict[str, Any]:
    """Return the media type and the path of a layer; nothing for one with none of the bag's files."""
    files = [member.name for member in layer.members if member.source is not None]
    if not files or not all(name.startswith(f"{folder}/") for name in files):
        return {}
    kinds = {_kind(name.removeprefix(f"{folder}/"), facts) for name in files}
    media_type = next(kind for kind in (WEIGHT, WEIGHT_CONFIG, DOC) if kind in kinds)
    path = files[0] if len(files) == 1 else _common_folder(files)
    return {"mediaType": media_type, "annotations": {FILEPATH: path}}


def _kind(path: str, facts: ModelFacts) -> str:
    """Return the media type of a file, by its path below the bag: tag files are documents."""
    inside = path.removeprefix(f"{PAYLOAD}/")
    if inside == facts.weights:
        return WEIGHT
    is_document = inside in {path, facts.card} or "." not in inside or inside.lower().endswith(_DOCUMENTS)
    return DOC if is_document else WEIGHT_CONFIG


def _common_folder(files: Sequence[str]) -> str:
    """Return the deepest folder that has all of these files."""
    shared = []
    for names in zip(*(name.split("/")[:-1] for name in files), strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join(shared)


def _descriptor(entry: Entry, facts: ModelFacts) -> dict[str, Any]:
    """Return what the catalog says about the model."""
    dataset = entry.dataset
    known = {
        "name": entry.reference.name,
        "version": entry.reference.version,
        "title": dataset.title,
        "family": facts.architecture,
        "vendor": dataset.publisher,
        "docURL": dataset.homepage,
        "authors": [dataset.contact] if dataset.contact else None,
        "licenses": [facts.licence or dataset.licence],
    }
    return {key: value for key, value in known.items() if value}


def _config(facts: ModelFacts, bag: Bag) -> dict[str, Any]:
    """Return the technical facts; what the weights do not show is left out."""
    found: dict[str, Any] = {"architecture": facts.architecture} if facts.architecture else {}
    with contextlib.suppress(WeightsError):  # 'datapack check' says what is wrong with them
        found |= _weights_facts(read_weights(bag.path / PAYLOAD / facts.weights))
    if facts.min_size is not None or facts.max_size is not None:  # of an image
        found["capabilities"] = {"inputTypes": ["image"], "outputTypes": ["other"]}
    return found


def _weights_facts(weights: WeightsFile) -> dict[str, str]:
    floating = [tensor for tensor in weights.tensors.values() if tensor.dtype in _PRECISIONS]
    precisions = {_PRECISIONS[tensor.dtype] for tensor in floating}
    facts = {"format": _FORMATS.get(weights.format, "pt")}
    if precisions:
        facts["precision"] = precisions.pop() if len(precisions) == 1 else "mixed"
    size = param_size(sum(tensor.numbers for tensor in floating))
    return {**facts, "paramSize": size} if size else facts


def param_size(count: int) -> str:
    """Return a number of parameters as ModelPack writes it, such as ``41.8M``; empty for fewer than a hundred."""
    scale, letter = next((pair for pair in _SCALES if count >= pair[0]), _SCALES[-1])
    tenths = round(count * 10 / scale)
    return f"{tenths / 10:g}{letter}" if tenths else ""


def _annotations(facts: ModelFacts, image: Image) -> dict[str, str]:
    """Return the image's own facts about the model, and what it was trained on."""
    own: Mapping[str, str] = image.annotations
    shown = {key: own[key] for key in own if key == DIGEST_LABEL or (key.startswith(STANDARD) and ".base." not in key)}
    return {**shown, TRAINED_ON: facts.trained_on.label} if facts.trained_on else shown
