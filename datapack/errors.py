"""The errors that users see: one line each, all in the same form, whatever foreign text is in it."""

import errno
import unicodedata

# Control characters, invisible ones (zero width, change of direction), halves of a pair, ends of lines and paragraphs.
_ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LONGEST = 5000  # characters of a foreign text in a line: no path is longer


def shown(text: str) -> str:
    r"""Return a text in a form that fits into one line of a log or a terminal; a second call changes nothing.

    File names, URLs, answers of servers and names of categories are foreign: a line feed in one could add a line that
    says ``IMPORT OK``, an escape sequence could delete the line before. Such characters become ``\n`` or ``\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(map(_escape, text))


def brief(text: str) -> str:
    """Cut a foreign text that is too long for a line of a log: a name can have a million characters."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _ESCAPED else letter


class DatapackError(Exception):
    """A problem that the user can act on.

    ``str()`` is one line: where, what is wrong, what was expected, what was found, what to do next.

    Attributes:
        what: what is wrong.
        where: the place, such as a file and a line; None if there is none. So are the next three.
        expected: what should be there.
        found: what is there.
        fix: what to do.
        details: further lines, such as a line per difference or the other problems in the same file.
        exit_code: the exit status of a command that ends with this error.
    """

    what: str
    where: object
    expected: object
    found: object
    fix: str | None
    details: tuple[str, ...]
    exit_code: int = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        self.what, self.where, self.expected, self.found, self.fix = what, where, expected, found, fix
        self.details = tuple(map(shown, details))
        super().__init__(self._line())

    def _line(self) -> str:
        line = brief(self.what)
        line = line if self.where is None else f"{shown(brief(str(self.where)))}: {line}"
        facts = [
            f"{label} {brief(str(value))}"
            for label, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        ]
        if facts:
            line += ": " + ", ".join(facts)
        if self.fix:
            line += f"; {brief(self.fix)}"
        return shown(" ".join(line.split()))


class UsageError(DatapackError):
    """The command line is wrong: an unknown reference, target or option."""

    exit_code = 2


class CatalogError(DatapackError):
    """``datasets.yml`` or ``datasets.lock`` is invalid or can't be read."""

    exit_code = 2


class ManifestError(DatapackError):
    """A manifest, or a path in one, is invalid."""


class BagError(DatapackError):
    """A folder is not a complete, undamaged bag."""


class FetchError(DatapackError):
    """A source did not provide a file, or the disk failed while it was fetched."""


class VersioningError(DatapackError):
    """DVC failed."""


class ImageError(DatapackError):
    """A base, an image or a target can't be read or written."""


class MismatchError(DatapackError):
    """The data or the image differs from its manifest or from the lock. ``details`` has a line per difference."""

    exit_code = 3


class WeightsError(DatapackError):
    """A weights file can't be read or converted. ``details`` has a line for each thing that a pickle would call."""


class SignatureError(MismatchError):
    """A signature is missing, damaged, by another key, or of something else. ``details`` has a line for each."""


class RehearsalError(DatapackError):
    """A rehearsed container failed. datapack exits with the container's exit status."""

    def __init__(self, what: str, *, status: int, where: object = None, found: object = None, fix: str | None = None):
        super().__init__(what, where=where, found=found, fix=fix)
        self.exit_code = status


def refused(error: OSError) -> DatapackError:
    """Return what the system refused, such as room on a disk, as an error for users."""
    fixes = {
        errno.ENOSPC: "make room, then run the same command again to continue",
        errno.EDQUOT: "your disk quota is used up: make room, then run the same command again to continue",
        errno.EROFS: "work in a folder that you can write to",
        errno.EACCES: "check its owner and permissions",
    }
    return DatapackError(
        error.strerror or str(error) or type(error).__name__, where=error.filename, fix=fixes.get(error.errno or 0)
    )
