"""What a bag contains: its files, its images, its COCO files, its tables and its weights, as values.

All paths are below the payload, without ``data/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from datapack.bag.bagit import PayloadFile
    from datapack.bag.missing import Missing
    from datapack.bag.model_facts import ModelFacts
    from datapack.weights.model import WeightsFile


@dataclass(frozen=True, slots=True)
class ImageFile:
    """What the header and the metadata of an image say; no pixel is decoded."""

    path: str
    form: str  # PNG, JPEG, ..., as its content shows; empty if it is broken
    width: int  # pixels, as they are stored; 0 if it is broken, or of a form whose header is not read
    height: int
    orientation: int = 1  # of EXIF, 1 to 8; from 5 on, the image is shown with its sides exchanged
    has_position: bool = False  # whether the metadata has a position on Earth
    identifying: tuple[str, ...] = ()  # the names of metadata fields that identify a camera or a person; no values
    traits: tuple[str, ...] = ()  # what matters for training, sorted: alpha, animated, CMYK, fractions, 16 bits, ...
    problem: str = ""  # why it can't be read

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as viewers show the image."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)  # noqa: PLR2004


NO_ID = -(2**63)  # of a box: COCO's metrics need an id, training does not


@dataclass(frozen=True, slots=True)
class Content:
    """What a user should know about the content of a file that is not an image."""

    path: str
    form: str = ""  # archive, program, pickle, web page
    secrets: tuple[str, ...] = ()  # the kinds of secrets in it; no values
    problem: str = ""  # how it differs from what its name says


class Category(NamedTuple):
    """A category of a COCO file."""

    id: int
    name: str


class BadRow(NamedTuple):
    """A row of a COCO file that can't be used: its place, such as ``annotations[3]``, and why."""

    place: str
    problem: str


@dataclass(frozen=True)
class Coco:
    """A COCO file: N images with M boxes, in the order of the file. Rows that can't be used are only in `bad_rows`."""

    path: str
    names: tuple[str, ...]  # N, each image's file_name in the file
    images: tuple[str, ...]  # N, each image's path in the payload; empty if it is not there
    ids: NDArray[np.int64]  # N
    sizes: NDArray[np.int64]  # (N, 2) width and height in the file, pixels; 0 where it gives none
    sequences: NDArray[np.int64]  # N, the index in `sequence_names` of the image's sequence; -1 if it has none
    sequence_names: tuple[str, ...]
    times: NDArray[np.float64]  # N, seconds since the start of the sequence, or the frame's number; NaN if unknown
    owners: NDArray[np.int64]  # M, the index of each box's image; -1 if the file has no such image
    labels: NDArray[np.int64]  # M, the index of each box's category; -1 if the file has no such category
    boxes: NDArray[np.float64]  # (M, 4) x, y, width, height, pixels, as in the file
    crowd: NDArray[np.bool_]  # M
    rows: NDArray[np.int64]  # M, the position of each box in the file's ``annotations``
    categories: tuple[Category, ...]
    bad_rows: tuple[BadRow, ...] = ()  # at most a thousand of them
    bad_count: int = 0  # how many there are
    has_boxes: bool = True  # whether the file has a list of boxes
    unboxed: int = 0  # annotations that are captions or panoptic segments
    numbered: frozenset[int] = frozenset()  # the sequences whose times are frames' numbers, not seconds
    box_ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # M, `NO_ID` where there is none
    problem: str = ""  # why the file can't be read; then it has no rows

    def __len__(self) -> int:
        return len(self.names)


class Column(NamedTuple):
    """A column of a table. It says nothing about single values."""

    name: str  # empty if it has none
    type: str  # such as "whole number", "number", "date", "text", "empty", or the type that Parquet gives
    missing: int  # rows without a value; -1 if the file does not tell


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV, TSV or Parquet file, up to where it can be read."""

    path: str
    rows: int  # without the header
    columns: tuple[Column, ...]
    ragged: int = 0  # rows with more or fewer values than the table has columns
    first_ragged: int = 0  # the line in which the first of them ends
    has_header: bool = True
    problem: str = ""  # why it, or what follows the rows that are counted, can't be read


@dataclass(frozen=True)
class Weights:
    """A weights file."""

    path: str
    file: WeightsFile | None = None  # its calls, and of a model the tensors; None if it can't be read or is not opened
    scan: tuple[str, ...] = ()  # what picklescan says of a pickle that needs code; of the first few
    not_finite: Mapping[str, int] = field(default_factory=dict)  # numbers that are NaN or infinite, by tensor
    unchecked: str = ""  # why it is not opened
    problem: str = ""  # why it can't be read


@dataclass(frozen=True)
class DeepImage:
    """What only the pixels of an image show."""

    path: str
    likeness: int  # a perceptual hash of 64 bits: similar images differ in few bits
    sharpness: float  # the variance of the Laplacian at a fixed size: low in blurred images
    brightness: float  # the mean, 0 black to 1 white
    contrast: float  # the standard deviation, 0 to 1: 0 where the image is of one colour
    problem: str = ""  # why it can't be decoded


@dataclass(frozen=True)
class Survey:
    """Everything that is known about a bag's content."""

    digest: str  # the dataset digest
    files: Mapping[str, PayloadFile]  # all files by path, in the order of the manifest; `path` is the same text
    images: tuple[ImageFile, ...]  # sorted by path
    cocos: tuple[Coco, ...]  # sorted by path
    tables: tuple[Table, ...]  # sorted by path
    missing: Mapping[str, Missing]  # what missing.csv lists
    deep: tuple[DeepImage, ...] = ()  # sorted by path; empty unless the images were decoded
    reference: str = ""  # name@version, as the bag gives it
    contents: tuple[Content, ...] = ()  # sorted by path; only files about which there is something to say
    weights: tuple[Weights, ...] = ()  # sorted by path
    facts: ModelFacts | None = None  # what model.json says, if the dataset is a model
