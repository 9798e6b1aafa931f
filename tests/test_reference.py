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
