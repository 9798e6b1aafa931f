"""Names that are different here and the same elsewhere: ``é`` in two Unicode forms, ``A.png`` and ``a.png``.

macOS and Windows treat such names as the same file, and people can't tell them apart.
"""

from __future__ import annotations

from unicodedata import normalize


def folded(path: str) -> str:
    """Return what paths have in common that differ only in case or in Unicode form."""
    return path.lower() if path.isascii() else normalize("NFC", normalize("NFC", path).casefold())


def look_alikes(paths: set[str]) -> set[str]:
    """Return the paths that look like another one of them: they differ only in Unicode form."""
    shown: dict[str, str] = {}
    alike: set[str] = set()
    for path in paths:
        if not path.isascii() and (other := shown.setdefault(normalize("NFC", path), path)) != path:
            alike |= {path, other}
    return alike
