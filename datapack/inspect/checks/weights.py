"""Checks of the weights of models: whether they can be read, run no code, and are what ``model.json`` says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from datapack.errors import BagError
from datapack.inspect.findings import Finding, Rule, few, some
from datapack.jsonfile import parse_json
from datapack.weights.architectures import architectures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from datapack.bag.model_facts import ModelFacts
    from datapack.inspect.model import Survey, Weights
    from datapack.weights.model import WeightsFile

RECORD = "trainers"  # the key of the metadata in which the trainers record what a model is
_USUAL = {"F16", "BF16", "F32"}  # data types that a model is trained in
_COUNTS = {"I64", "I32", "BOOL"}  # of counters, indices and masks beside them

UNREADABLE = Rule(
    "DP601",
    "error",
    "weights files that can't be read",
    "No program can load them: they are cut off, damaged, or something else.",
    "Fetch them again, or leave them out with 'exclude'.",
)
CODE = Rule(
    "DP602",
    "error",
    "weights whose pickle needs code",
    "Loading such a file imports and calls what it names. datapack read it and ran nothing.",
    "If it only needs classes, 'datapack convert' takes its tensors; in a model's catalog entry, 'convert: true' does."
    " Otherwise do not load it. If the code is really needed, give the reason with 'allow_pickle' or 'silence'.",
)
OTHER_ARCHITECTURE = Rule(
    "DP603",
    "error",
    "weights of another architecture",
    "The trainers refuse weights whose tensors are not those of the architecture in the catalog.",
    "Correct 'architecture' in the section 'model', or name the right file with 'weights'.",
)
OTHER_CATEGORIES = Rule(
    "DP604",
    "error",
    "weights for another number of categories",
    "Each detection would get the name of another category, or none.",
    "Correct 'categories' in the section 'model': a name for each label of the weights, 'N/A' for one that has none.",
)
UNUSUAL = Rule(
    "DP605",
    "warning",
    "weights with unusual data types",
    "Models are trained in F32, F16 or BF16. F64 doubles the memory for nothing; small integers are quantised weights.",
    "Save the weights in one of these types, or say in the model's card why they have others.",
)
NOT_FINITE = Rule(
    "DP606",
    "error",
    "weights with values that are infinite or not a number (NaN)",
    "A model with them detects nothing: its training has failed, or the file is damaged.",
    "Take the weights of an earlier epoch.",
)
COMPLAINT = Rule(
    "DP607",
    "error",
    "ONNX models that the checker refuses",
    "Most programs won't run them.",
    "Export the model again.",
)
CONTRADICTION = Rule(
    "DP608",
    "error",
    "facts about a model that its own record contradicts",
    "The trainers recorded in the weights what they were trained on and for. One of the two is wrong.",
    "Correct the section 'model', or leave out what the record says.",
)
UNKNOWN_DATA = Rule(
    "DP609",
    "warning",
    "models that don't say what they were trained on",
    "Evaluated on its own training data, a model looks better than it is; and weights can reveal data.",
    "Add 'trained_on' to the section 'model': a dataset with its digest, or a text.",
)
UNCHECKED = Rule(
    "DP610",
    "note",
    "weights files that datapack does not check",
    "Faults in them stay hidden, and so does code, which Keras files can contain.",
    "Store the weights as safetensors.",
)


def check_files(survey: Survey) -> Iterator[Finding]:
    """Look for weights files that can't be read, need code, or are not checked."""
    told = {content.path for content in survey.contents if content.problem}  # such as: a web page instead of the file
    broken = [(one.path, one.problem) for one in survey.weights if one.problem and one.path not in told]
    yield from _some(UNREADABLE, broken)
    yield from _some(UNCHECKED, [(one.path, one.unchecked) for one in survey.weights if one.unchecked])
    yield from _code(survey)
    complaints = [(one.path, one.file.complaint) for one in survey.weights if one.file and one.file.complaint]
    yield from _some(COMPLAINT, complaints)


def _some(rule: Rule, found: list[tuple[str, str]]) -> Iterator[Finding]:
    yield from some(rule, [f"{path}: {why}" for path, why in found], files=[path for path, _ in found])


def _code(survey: Survey) -> Iterator[Finding]:
    """Name the files whose pickles need code: what they would call, and what picklescan says."""
    pickles = [(one, one.file) for one in survey.weights if one.file and one.file.calls]
    if pickles:
        lines = few(line for one, file in pickles for line in _calls(one, file))
        yield Finding(CODE, len(pickles), lines, files=frozenset(one.path for one, _ in pickles))


def _calls(one: Weights, file: WeightsFile) -> Iterator[str]:
    calls = (*file.functions, *(call for call in file.calls if call not in file.functions))  # the worst first
    yield f"{one.path} would run {', '.join(calls)}"
    bad = [line for line in one.scan if not line.startswith("innocuous")]
    if bad:
        yield f"{one.path}, says picklescan: {', '.join(sorted(bad))}"  # dangerous before suspicious


def check_model(survey: Survey) -> Iterator[Finding]:
    """Compare the weights of a model with what ``model.json`` says."""
    facts = survey.facts
    if facts is None:
        return
    if facts.trained_on is None:
        yield from some(UNKNOWN_DATA, [facts.weights], files=[facts.weights])
    one = next((one for one in survey.weights if one.path == facts.weights), None)
    if one is None or one.file is None or not one.file.tensors:
        return
    yield from _architecture(facts, one.file)
    lines = [f"{name} has {count:,} of {one.file.tensors[name].numbers:,}" for name, count in one.not_finite.items()]
    yield from some(NOT_FINITE, lines, files=[one.path])
    yield from some(UNUSUAL, _types(one.file), files=[one.path])
    yield from some(CONTRADICTION, _contradictions(facts, one.file), files=[one.path])


def _architecture(facts: ModelFacts, file: WeightsFile) -> Iterator[Finding]:
    known = architectures().get(facts.architecture)
    if known is None or file.format == "ONNX":  # whose names are those of the exporter
        return
    if differences := known.differences(file.tensors):
        line = f"{facts.weights} differs from {facts.architecture} in {len(differences):,} tensors"
        yield Finding(OTHER_ARCHITECTURE, 1, few([line, *differences]), files=frozenset([facts.weights]))
        return
    found = known.categories(file.tensors)
    if facts.categories and found is not None and found != len(facts.categories):
        line = f"{facts.weights} is for {found:,} categories, and the catalog names {len(facts.categories):,}"
        yield from some(OTHER_CATEGORIES, [line], files=[facts.weights])


def _types(file: WeightsFile) -> list[str]:
    """Return a line for each tensor with an unusual data type."""
    usual = _USUAL | _COUNTS
    return [f"{name} has {info.dtype}" for name, info in file.tensors.items() if info.dtype not in usual]


def _contradictions(facts: ModelFacts, file: WeightsFile) -> Iterator[str]:
    """Yield a line for each fact that is another one in the trainers' record."""
    record = _record(file)
    ours: dict[str, object] = {"architecture": facts.architecture}
    theirs: dict[str, object] = {"architecture": record.get("name")}
    if facts.categories:
        ours["categories"] = [list(category) for category in facts.categories]
        theirs["categories"] = record.get("categories")
    for size in ("min_size", "max_size"):
        ours[size], theirs[size] = getattr(facts, size), record.get(size)
    data = record.get("dataset")
    if facts.trained_on is not None and isinstance(data, dict):
        for key in ("reference", "digest"):
            ours[f"trained_on {key}"] = getattr(facts.trained_on, key)
            theirs[f"trained_on {key}"] = data.get(key)
    for key, value in ours.items():
        if value is not None and theirs.get(key) is not None and value != theirs[key]:
            yield f"{key}: {_text(value)} in the catalog, {_text(theirs[key])} in {facts.weights}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _record(file: WeightsFile) -> dict[str, Any]:
    """Return what the trainers recorded; nothing if they did not make the weights."""
    try:
        value = parse_json(file.metadata.get(RECORD, "{}").encode(), RECORD, BagError)
    except BagError:
        return {}
    return value if isinstance(value, dict) else {}


RULES = (
    *(UNREADABLE, CODE, OTHER_ARCHITECTURE, OTHER_CATEGORIES, UNUSUAL, NOT_FINITE, COMPLAINT, CONTRADICTION),
    *(UNKNOWN_DATA, UNCHECKED),
)
CHECKS = (check_files, check_model)
