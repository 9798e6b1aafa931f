"""The media types of files by their names: our own table, as that of Python differs from machine to machine."""

from __future__ import annotations

from pathlib import PurePosixPath

UNKNOWN = "application/octet-stream"
JSON, CSV, TSV, PARQUET = "application/json", "text/csv", "text/tab-separated-values", "application/x-parquet"
_TYPES = {
    "application/geo+json": ".geojson",
    "application/gzip": ".gz .tgz",
    JSON: ".json",
    "application/jsonlines": ".jsonl .ndjson",
    "application/pdf": ".pdf",
    "application/x-hdf5": ".h5 .hdf5",
    PARQUET: ".parquet .pq",
    "application/x-tar": ".tar",
    "application/xml": ".xml",
    "application/yaml": ".yml .yaml",
    "application/zip": ".zip",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/dicom": ".dcm",
    "image/gif": ".gif",
    "image/jp2": ".jp2 .j2k",
    "image/jpeg": ".jpg .jpeg .jpe .jfif",
    "image/png": ".png .apng",
    "image/svg+xml": ".svg",
    "image/tiff": ".tif .tiff",
    "image/webp": ".webp",
    CSV: ".csv",
    "text/html": ".html .htm",
    "text/markdown": ".md",
    "text/plain": ".txt .log",
    TSV: ".tsv .tab",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
}
_BY_ENDING = {ending: name for name, endings in _TYPES.items() for ending in endings.split()}


def ending_of(path: str) -> str:
    """Return the ending of a file's name as it is written, such as ``.PNG``; empty if it has none."""
    return PurePosixPath(path).suffix


def media_type(path: str) -> str:
    """Return the media type that a file's name stands for."""
    return _BY_ENDING.get(ending_of(path).lower(), UNKNOWN)


def table_type(path: str) -> str:
    """Return the media type of a table, which may be compressed: its readers see that themselves."""
    return media_type(path.lower().removesuffix(".gz"))
