"""A small catalog as text, and the same with a change."""

import yaml

BASE = "docker.io/library/alpine:3.22@sha256:" + "a" * 64
CATALOG = f"""\
defaults:
  base: {BASE}
datasets:
  reef:
    title: A reef
    licence: CC0-1.0
    versions:
      v1:
        sources:
          - local: images/*.png
            into: images
"""


def with_sources(*sources: object) -> str:
    """The catalog with other sources."""
    document = yaml.safe_load(CATALOG)
    document["datasets"]["reef"]["versions"]["v1"]["sources"] = list(sources)
    return yaml.safe_dump(document)


def changed(old: str, new: str) -> str:
    """The catalog with one part of its text replaced; the part must exist."""
    assert old in CATALOG
    return CATALOG.replace(old, new)


def with_keys(keys: str, defaults: str = "") -> str:
    """The catalog with more keys of its dataset and of its defaults, each line of them as YAML."""
    text = changed("    versions:", f"    {keys}\n    versions:")
    return text.replace("datasets:", f"  {defaults}\ndatasets:") if defaults else text
