"""The errors that people see: one line each, in one form."""


class DatapackError(Exception):
    """A problem that whoever runs the command can act on.

    ``str()`` is one line, in this order: where, what went wrong, what was expected, what was found, what to do next.
    ``details`` are further lines: each difference, or each other problem of the same file.
    """

    exit_code = 1

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
        self.details = details
        super().__init__(self._line())

    def _line(self) -> str:
        line = self.what if self.where is None else f"{self.where}: {self.what}"
        facts = [
            f"{label} {value}"
            for label, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        ]
        if facts:
            line += ": " + ", ".join(facts)
        if self.fix:
            line += f"; {self.fix}"
        return " ".join(line.split())


class UsageError(DatapackError):
    """The command line itself is wrong: an unknown reference, target or option."""

    exit_code = 2


class CatalogError(DatapackError):
    """``datasets.yml`` or ``datasets.lock`` can't be read as what it should be."""

    exit_code = 2


class ManifestError(DatapackError):
    """A manifest, or a path in it, that must not be trusted."""


class BagError(DatapackError):
    """A folder that is not the bag it should be."""


class FetchError(DatapackError):
    """A source did not give what it should."""


class VersioningError(DatapackError):
    """DVC failed."""


class ImageError(DatapackError):
    """A base, an image or a target that can't be read or written."""


class MismatchError(DatapackError):
    """The data, or the image, is not what the manifest or the lock says. ``details`` has a line per difference."""

    exit_code = 3


class RehearsalError(DatapackError):
    """A container that was rehearsed failed. datapack ends with the status that the container ended with."""

    def __init__(self, what: str, *, status: int, where: object = None, found: object = None, fix: str | None = None):
        super().__init__(what, where=where, found=found, fix=fix)
        self.exit_code = status
