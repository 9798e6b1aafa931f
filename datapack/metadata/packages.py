"""The packages of a base image, as its own package managers list them: Alpine's, Debian's, and Python's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.parser import HeaderParser
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

from datapack.errors import ImageError
from datapack.oci.boundary import FAILURES
from datapack.oci.compression import UNPACKED_LIMIT, can_unpack, unpacked
from datapack.oci.filesystem import remove_lower
from datapack.oci.spec import LAYER
from datapack.oci.tar import TarError, TarReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from datapack.image.base import Base
    from datapack.oci.spec import Descriptor

_ALPINE = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_DEBIAN = "var/lib/dpkg/status"
_SYSTEM = ("etc/os-release", "usr/lib/os-release")
_PARTS = re.compile(r"(.*/)?[^/]+\.dist-info/METADATA|var/lib/dpkg/status\.d/[^/]+")  # a file for each package
_NAMED = frozenset({*_ALPINE, _DEBIAN, *_SYSTEM})
_LIMIT = 64 << 20  # bytes of one file; the status of a large Debian has 10 MB


class Package(NamedTuple):
    """An installed package."""

    name: str
    version: str
    url: str  # its package URL
    licence: str  # as the package says it; empty if it doesn't


@dataclass(frozen=True)
class System:
    """What a base says that it is, and what is installed in it."""

    id: str = ""  # such as alpine; empty if it doesn't say
    version: str = ""
    packages: tuple[Package, ...] = field(default=(), repr=False)
    is_read: bool = True  # False: its layers can't be unpacked here


def read_system(base: Base) -> System:
    """Read what a base has installed; raise `ImageError` if a layer is damaged."""
    if not all(can_unpack(layer.media_type) for layer in base.layers):
        return System(is_read=False)
    files: dict[str, bytes] = {}
    for layer in base.layers:
        _add(base, layer, files)
    release = _release(next((files[name] for name in _SYSTEM if name in files), b""))
    kind, version = release.get("ID", ""), release.get("VERSION_ID", "")
    packages = sorted({*_alpine(files, kind, version), *_debian(files, kind, version), *_python(files)})
    return System(kind, version, tuple(packages))


def _add(base: Base, layer: Descriptor, files: dict[str, bytes]) -> None:
    """Unpack what lists packages onto that of the lower layers."""
    where = base.layout.locate(layer)
    plain, new = layer.media_type == LAYER, dict[str, bytes]()
    with base.layout.open(layer) as file:
        archive = unpacked(layer.media_type, file, where)
        reader = TarReader(archive, layer.size if plain else UNPACKED_LIMIT, file.seek if plain else None)
        try:
            for entry in reader:
                name = "/".join(part for part in entry.name.split("/") if part not in {"", "."})
                removes = remove_lower(files, name)
                if not removes and entry.is_file and (name in _NAMED or _PARTS.fullmatch(name)):
                    new[name] = _content(reader, entry.size, reader.content(entry), name)
        except FAILURES as error:
            raise ImageError("a layer of the base can't be unpacked", where=where, found=error) from error
    files |= new


def _content(reader: TarReader, size: int, blocks: Iterator[bytes], name: str) -> bytes:
    if size > _LIMIT:
        raise TarError(f"{name!a} is larger than {_LIMIT:,} bytes")
    return b"".join(blocks)


def _release(content: bytes) -> dict[str, str]:
    lines = (line.partition("=") for line in content.decode(errors="replace").splitlines())
    return {key: value.strip().strip("\"'") for key, _, value in lines}


def _paragraphs(content: bytes, separator: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each paragraph, without their further lines."""
    for paragraph in re.split(r"\n\s*\n", content.decode(errors="replace")):
        lines = (line.partition(separator) for line in paragraph.splitlines() if not line.startswith((" ", "\t")))
        yield {key: value.strip() for key, _, value in lines}


def _url(kind: str, namespace: str, name: str, version: str, **qualifiers: str) -> str:
    path = "/".join(quote(part, safe="") for part in (namespace, name) if part)
    given = urlencode({key: value for key, value in sorted(qualifiers.items()) if value}, quote_via=quote)
    return f"pkg:{kind}/{path}@{quote(version, safe='')}" + (f"?{given}" if given else "")


def _alpine(files: Mapping[str, bytes], kind: str, version: str) -> Iterator[Package]:
    for name in _ALPINE:
        for fields in _paragraphs(files.get(name, b""), ":"):
            if fields.get("P") and fields.get("V"):
                url = _url("apk", kind or "alpine", fields["P"], fields["V"], arch=fields.get("A", ""), distro=version)
                yield Package(fields["P"], fields["V"], url, fields.get("L", ""))


def _debian(files: Mapping[str, bytes], kind: str, version: str) -> Iterator[Package]:
    kind, release = kind or "debian", f"{kind or 'debian'}-{version}" if version else ""
    for name in sorted(name for name in files if name == _DEBIAN or name.startswith(f"{_DEBIAN}.d/")):
        for fields in _paragraphs(files[name], ":"):
            installed = fields.get("Status", "installed").endswith(" installed") or name != _DEBIAN
            if fields.get("Package") and fields.get("Version") and installed:
                found, its = fields["Package"], fields["Version"]
                yield Package(
                    found, its, _url("deb", kind, found, its, arch=fields.get("Architecture", ""), distro=release), ""
                )


def _python(files: Mapping[str, bytes]) -> Iterator[Package]:
    for path, content in files.items():
        if path.endswith("/METADATA"):
            fields = HeaderParser().parsestr(content.decode(errors="replace"), headersonly=True)
            name, version = str(fields.get("Name", "")), str(fields.get("Version", ""))
            licence = str(fields.get("License-Expression", ""))
            if name and version:
                normal = re.sub(r"[-_.]+", "-", name).lower()
                yield Package(name, version, _url("pypi", "", normal, version), licence)
