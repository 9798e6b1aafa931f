"""Sources: where the files of a dataset come from. Each kind is one module with one class.

A new kind is a new module, named here once: `AnySource` is what the catalog accepts. The key that is the kind's own
name (``coco: train.json``) says which kind a catalog entry is.
"""

from datapack.sources.coco import CocoSource
from datapack.sources.kaggle import KaggleSource
from datapack.sources.local import LocalSource
from datapack.sources.source import Source, fill
from datapack.sources.url import UrlSource

AnySource = CocoSource | KaggleSource | LocalSource | UrlSource

__all__ = ["AnySource", "CocoSource", "KaggleSource", "LocalSource", "Source", "UrlSource", "fill"]
