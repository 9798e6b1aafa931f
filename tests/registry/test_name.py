"""Names of images in registries."""

import pytest

from datapack.errors import UsageError
from datapack.registry import ImageName, is_loopback

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "ghcr.io/group/reef",
        "ghcr.io/group/sub-group/reef_1:v1",
        f"registry.example.org:5000/reef:v1@{DIGEST}",
        f"localhost/reef@{DIGEST}",
        "localhost:5000/reef:V1.0-a_b",
        "127.0.0.1:5000/a/b/c",
        "[::1]:5000/reef",
    ],
)
def test_a_name_is_printed_as_it_was_read(text):
    """A valid name survives unchanged."""
    assert str(ImageName.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reef",
        "reef:v1",
        "group/reef:v1",
        "ghcr.io",
        "ghcr.io/",
        "ghcr.io/Group/reef",
        "ghcr.io/group//reef",
        "ghcr.io/group/reef:",
        "ghcr.io/group/reef@",
        "ghcr.io/group/reef@sha256:0",
        "ghcr.io/group/reef:a b",
        "ghcr.io/group/../reef",
        "https://ghcr.io/group/reef",
        "user:password@ghcr.io/reef",
        "ghcr.io/group/reef:" + "x" * 129,
    ],
)
def test_invalid_names(text):
    """Anything else is refused, with an example of a valid name."""
    with pytest.raises(UsageError, match=r"not the name of an image in a registry: expected .*ghcr\.io"):
        ImageName.parse(text)


@pytest.mark.parametrize(
    "registry", ["localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:5000"]
)
def test_loopback(registry):
    """These are on this machine."""
    assert is_loopback(registry)


@pytest.mark.parametrize(
    "registry", ["ghcr.io", "localhost.example.org", "127.0.0.1.example.org", "10.0.0.1", "192.168.0.1:5000", "[x", ""]
)
def test_not_loopback(registry):
    """These are elsewhere, or invalid."""
    assert not is_loopback(registry)
