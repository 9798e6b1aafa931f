"""The sources of a version, as the catalog describes them; `datapack.fetch.kinds` has a function to fetch each kind.

To add a kind, add a module with its model here, list it in `AnySource`, and add a module to `datapack.fetch.kinds`. The
key with the kind's name (``coco: train.json``) tells which kind an entry of the catalog has.
"""

from datapack.catalog import codes
from datapack.catalog.sources import doi, huggingface, kaggle, split, url
from datapack.catalog.sources.base import Source
from datapack.catalog.sources.coco import CocoSource
from datapack.catalog.sources.doi import DoiSource
from datapack.catalog.sources.huggingface import HuggingFaceSource
from datapack.catalog.sources.kaggle import KaggleSource
from datapack.catalog.sources.local import LocalSource
from datapack.catalog.sources.run import RunSource
from datapack.catalog.sources.split import SplitSource
from datapack.catalog.sources.storage import StorageSource
from datapack.catalog.sources.subset import SubsetSource
from datapack.catalog.sources.unpack import UnpackSource
from datapack.catalog.sources.url import UrlSource
from datapack.catalog.sources.url_list import ListSource

AnySource = (
    CocoSource
    | DoiSource
    | HuggingFaceSource
    | KaggleSource
    | ListSource
    | LocalSource
    | RunSource
    | SplitSource
    | StorageSource
    | SubsetSource
    | UnpackSource
    | UrlSource
)
# each pattern of a key in words, for errors
FORMS = {**codes.FORMS, **doi.FORMS, **huggingface.FORMS, **kaggle.FORMS, **split.FORMS, **url.FORMS}

__all__ = [
    "FORMS",
    "AnySource",
    "CocoSource",
    "DoiSource",
    "HuggingFaceSource",
    "KaggleSource",
    "ListSource",
    "LocalSource",
    "RunSource",
    "Source",
    "SplitSource",
    "StorageSource",
    "SubsetSource",
    "UnpackSource",
    "UrlSource",
]
