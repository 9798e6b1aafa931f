"""The results of the public interface: values that do not change, and that say in a notebook what they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from datapack.verify.bag import VerifiedBag
from datapack.verify.signatures import Signatures

if TYPE_CHECKING:
    from pathlib import Path

    from datapack.inspect.findings import Finding


@dataclass(frozen=True)
class Fetched:
    """A version whose data is on this machine, complete and checked.

    Attributes:
        reference: the version, ``name@version``.
        digest: the dataset digest, ``sha256:`` and 64 hex digits: that of the bag's manifest.
        files: the number of payload files.
        bytes: their size in bytes.
        bag: the absolute path of the bag's folder; the payload is in ``bag / "data"``.
    """

    reference: str
    digest: str
    files: int
    bytes: int
    bag: Path


@dataclass(frozen=True)
class Built(Fetched):
    """An image that was built, and the version that it carries.

    Attributes:
        image: the image digest, ``sha256:`` and 64 hex digits: the same for the same input, on every machine.
        target: where the image is, in a form that `datapack.verify` takes if it is no engine: ``oci:DIR``,
            ``oci-archive:FILE``, ``docker://NAME@DIGEST``, or ``docker-daemon:NAME:TAG``.
        provenance: the path of the file that says what the image was made from.
        runnable: whether it is a ready-to-run model instead of an import container.
    """

    image: str
    target: str
    provenance: Path
    runnable: bool = False


@dataclass(frozen=True)
class Verified(VerifiedBag):
    """A bag or an image that is what its manifest says; ``str()`` says it in words.

    Attributes:
        where: what was verified, as it was named.
        scope: ``full``: every byte was read; ``quick``: only names and sizes; ``sizes``: only the sizes of layers.
        digest: the dataset digest.
        files: the number of payload files.
        bytes: their size in bytes.
        reference: the version that an image or a tag file names; its ``str()`` is ``name@version``. None if unnamed.
        image: the image digest; empty for a bag.
        stand_in: whether the image is for tests and the demo only.
        statements: how many provenance statements are attached; None where none can be.
        base: the base, as the image itself names it.
        base_check: how far that base was checked: ``compared``, ``closed``, ``read`` or ``unread``.
        runnable: whether the image is a ready-to-run model.
        earlier: the datapack that wrote the import program, if it was not this one.
        notes: what has to be said of a bag that another tool wrote.
        signatures: how many signatures there are (``count``), the one by a key that you named (``valid``), those of the
            image's provenance (``provenance``), and whether that names the image's SBOM (``sbom``).
    """

    signatures: Signatures = field(default_factory=lambda: Signatures(0))

    def __str__(self) -> str:
        return "\n".join(filter(None, [super().__str__(), str(self.signatures)]))


@dataclass(frozen=True)
class Checked:
    """What a check covered, and what it found.

    Attributes:
        what: what was checked, as it was named.
        digest: the dataset digest.
        passed: whether no error was found, and with ``strict`` no warning, that the catalog does not silence.
        findings: what may be wrong, sorted by code. Each has a ``rule`` (``code``, ``severity``, ``title``, ``why``,
            ``fix``), a ``count``, up to five ``examples`` and, if the catalog accepts it, the reason in ``silenced``.
        unused: the codes that the catalog silences although there is nothing to silence.
        files, images, coco_files, boxes, tables, weights: how many of each there are.
        decoded: how many images were decoded; 0 without ``deep``.
    """

    what: str
    digest: str
    passed: bool
    findings: tuple[Finding, ...]
    unused: tuple[str, ...] = field(repr=False)
    files: int
    images: int
    coco_files: int
    boxes: int
    tables: int
    weights: int
    decoded: int


@dataclass(frozen=True)
class Report:
    """A page that shows what a version contains.

    Attributes:
        reference: the version, ``name@version``.
        path: the HTML file. It loads nothing from elsewhere.
        bytes: its size in bytes.
        digest: the dataset digest.
        findings: what may be wrong with the data, as in `Checked`.
        samples: how many images of the data it shows.
        no_samples: why it shows none, or empty.
    """

    reference: str
    path: Path
    bytes: int
    digest: str
    findings: tuple[Finding, ...]
    samples: int
    no_samples: str
