"""The index of a layout: which of its entries is the image.

A layout may hold more than one image, each under a tag, and what is attached to an image: signatures, provenance,
lists of these. ``oras cp -r`` and ``cosign save`` write such layouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datapack.errors import ImageError
from datapack.oci.spec import CONFIG, DOCKER_EQUIVALENTS, LAYER, REF_NAME, Descriptor, check_spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_SHOWN = 5  # tags in an error


def split_tag(folder: Path, text: str) -> tuple[Path, str]:
    """Split ``PATH[:TAG]``, as in skopeo's ``oci:PATH:TAG``; an existing path that contains the colon comes first."""
    if not (folder / text).exists():
        for place in (number for number, letter in enumerate(text) if letter == ":"):
            if (folder / text[:place]).exists():
                return folder / text[:place], text[place + 1 :]
    return folder / text, ""


def find_image(
    index: Mapping[str, Any], tag: str, read: Callable[[Descriptor], Mapping[str, Any]], where: object
) -> Descriptor:
    """Return the descriptor of the one image that an ``index.json`` names.

    Args:
        index: the index.
        tag: the image's name in the layout; empty if there is only one image.
        read: reads a manifest or an index that the index names.
        where: the index's place, for errors.

    Raises:
        ImageError: there is no such image, or more than one.
    """
    check_spelling(index, ("manifests",), where)
    named = [entry for entry in entries_of(index) if not tag or annotation(entry, REF_NAME) == tag]
    found = list(dict.fromkeys(Descriptor.parse(entry, where) for entry in named))
    if len(found) > 1:
        found = [descriptor for descriptor in found if _is_image(read(descriptor))]
    if len(found) != 1:
        what = f"no single image is named {tag!a}" if tag else "not a layout of one image"
        raise ImageError(what, where=where, expected="1 image", found=len(found), fix=_advice(index, tag, len(found)))
    return found[0]


def _advice(index: Mapping[str, Any], tag: str, found: int) -> str | None:
    """Say which tags there are, if naming another one could help."""
    tags = list(dict.fromkeys(annotation(entry, REF_NAME) for entry in entries_of(index)))
    known = [repr(name) for name in tags if isinstance(name, str) and name != tag]
    listed = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else "")
    if tag:
        return f"the tags here: {listed}" if listed and not found else None
    if not found:
        return None
    return f"name one with its tag, PATH:TAG; the tags here: {listed}" if listed else "name one with its tag, PATH:TAG"


def entries_of(index: Mapping[str, Any]) -> list[Any]:
    """Return the entries of an index that anyone may have written; none if it has no list of them."""
    entries = index.get("manifests")
    return entries if isinstance(entries, list) else []


def annotation(entry: Any, key: str) -> object:
    """Return an annotation of such an entry; None if it has none."""
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return annotations.get(key) if isinstance(annotations, dict) else None


def _is_image(document: Mapping[str, Any]) -> bool:
    """Whether a manifest or an index is an image, and not something that is attached to one."""
    if document.get("subject") is not None or document.get("artifactType") is not None:
        return False
    if isinstance(document.get("manifests"), list):  # a list of what is attached names the kind of each
        return any(not (isinstance(entry, dict) and "artifactType" in entry) for entry in document["manifests"])
    layers = document.get("layers")
    parts = layers if isinstance(layers, list) else ()
    return _media_type(document.get("config")) == CONFIG and all(
        _media_type(layer).startswith(LAYER) for layer in parts
    )


def _media_type(value: Any) -> str:
    found = value.get("mediaType") if isinstance(value, dict) else None
    return DOCKER_EQUIVALENTS.get(found, found) if isinstance(found, str) else ""
