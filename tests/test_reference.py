"""References: which strings are valid."""

import pytest

from datapack.errors import UsageError
from datapack.reference import Reference


@pytest.mark.parametrize("text", ["fathom24@v1", "reef@2026-11-23", "a.b-c_d@V1_x.y", "resnet50@imagenet1k-v2"])
def test_reference_is_parsed_and_formatted(text):
    """A reference is formatted as it was parsed."""
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reef",
        "reef@",
        "@v1",
        "Reef@v1",
        "reef@v1@v2",
        "../reef@v1",
        "reef@../v1",
        "reef@v1/x",
        "reef @v1",
        "reef@.v1",
        "reef@v1.partial",
        "reef@v1.dvc",
        "reef--x@v1/",
        "reef@" + "v" * 129,
    ],
)
def test_invalid_reference_is_refused(text):
    """A name that could not be a folder, an image name and a tag is refused, with a valid example."""
    with pytest.raises(UsageError, match="not a reference: expected name@version, such as fathom24@v1"):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("FISH@v1", "; 'FISH' can't be a name: it must be lower-case letters and digits, with single"),
        ("two words@v1", "; 'two words' can't be a name"),
        ("fish@v1/x", "; 'v1/x' can't be a version: it must be letters, digits, "),
        ("fish@v1.dvc", "it can't end in .dvc or .partial"),
    ],
)
def test_a_reference_with_both_parts_is_told_the_rule(text, rule):
    """Who wrote name@version needs to know which part is wrong, and why."""
    with pytest.raises(UsageError) as error:
        Reference.parse(text)
    assert rule in str(error.value)


@pytest.mark.parametrize("text", ["fish", "fish@", "@v1", "FISH@"])
def test_a_reference_without_a_part_is_told_the_form(text):
    """The form is all there is to say."""
    with pytest.raises(UsageError) as error:
        Reference.parse(text)
    assert str(error.value) == f"{text!r}: not a reference: expected name@version, such as fathom24@v1"
