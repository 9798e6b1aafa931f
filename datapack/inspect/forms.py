"""The forms of images: how a file of each begins, how its name ends, and which of them the trainers can decode."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

HEAD = 512  # bytes: enough to tell the form of a file

# What `trainers` decode, by our names of the forms.
READABLE = frozenset({"AVIF", "BMP", "GIF", "JPEG", "JPEG 2000", "PNG", "PPM", "TIFF", "WebP"})
# Pillow's names of these forms. It decodes each of them itself; for others, such as EPS, it starts a program.
PILLOW_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
RAW = "camera raw"
LARGEST = 178_956_970  # pixels of one image: what the trainers decode, and what Pillow opens without a warning


class _Form(NamedTuple):
    name: str
    endings: str
    begin: bytes  # a regular expression; empty if the form has no certain beginning
    by_name: bool = False  # whether only a file with one of these endings has this form: the beginning is too short


_FORMS = (
    _Form("PNG", ".png .apng", rb"\x89PNG\r\n\x1a\n"),
    _Form("JPEG", ".jpg .jpeg .jpe .jfif", rb"\xff\xd8\xff"),
    _Form("GIF", ".gif", rb"GIF8[79]a"),
    _Form("TIFF", ".tif .tiff .btf .svs .ndpi .lsm", rb"II[*+]\0|MM\0[*+]"),
    _Form("WebP", ".webp", rb"RIFF.{4}WEBP"),
    _Form("BMP", ".bmp .dib", rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}"),
    _Form("PPM", ".ppm .pgm .pbm .pnm", rb"P[1-6][\s#]", by_name=True),
    _Form("JPEG 2000", ".jp2 .j2k .jpx .jpf .j2c .jpc", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    _Form("AVIF", ".avif .avifs", rb".{4}ftypavi[fs]"),
    _Form("HEIC", ".heic .heif .hif", rb".{4}ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)"),
    _Form("JPEG XL", ".jxl", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", by_name=True),
    _Form("Photoshop", ".psd .psb", rb"8BPS\0[\1\2]"),
    _Form("OpenEXR", ".exr", rb"\x76\x2f\x31\x01"),
    _Form("DICOM", ".dcm .dicom", rb".{128}DICM"),
    _Form("FITS", ".fits .fit .fts", rb"SIMPLE  = {20} T"),
    _Form("DDS", ".dds", rb"DDS \x7c\0\0\0"),
    _Form("NIfTI", ".nii .nii.gz", b""),
    _Form("SVG", ".svg .svgz", b""),
    _Form("icon", ".ico .cur", rb"\0\0[\1\2]\0", by_name=True),
    _Form("Targa", ".tga", b""),
    _Form("microscope image", ".czi .nd2 .lif .mrxs .oib .oif .vsi", b""),
    _Form(RAW, ".cr2 .cr3 .crw .nef .nrw .arw .sr2 .dng .orf .rw2 .raf .pef .srw .3fr .iiq", b""),
)
_BEGINS = tuple((form.name, re.compile(form.begin, re.DOTALL), form.by_name) for form in _FORMS if form.begin)
_BY_ENDING = {ending: form.name for form in _FORMS for ending in form.endings.split()}


def form_of_name(path: str) -> str:
    """Return the form that the ending of a file's name stands for; nothing if it is not that of an image."""
    name = path.lower()
    ending = ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]  # noqa: PTH122 - of a name in a list
    return _BY_ENDING.get(ending, "")


def form_of_content(head: bytes, named: str) -> str:
    """Return the form of an image that begins with these bytes; nothing if no form is certain.

    Args:
        head: the first `HEAD` bytes of the file.
        named: the form that its name stands for; it decides where the content does not.
    """
    for name, begin, by_name in _BEGINS:
        if (not by_name or name == named) and begin.match(head):
            return RAW if (name, named) == ("TIFF", RAW) else name
    return ""
