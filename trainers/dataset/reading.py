"""Read every file of a dataset once: compare it with its hash and, if it is an image that is needed, decode it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datapack.executor import run_all
from trainers.dataset.decode import BrokenImageError, Remark, decode
from trainers.dataset.verify import check_bytes
from trainers.errors import TrainingError
from trainers.process import cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datapack.executor import Advance
    from trainers.config import Config
    from trainers.context import RunContext
    from trainers.dataset.cache import CacheWriter
    from trainers.dataset.images import Images
    from trainers.dataset.verify import Dataset
    from trainers.log import Log

_SHOWN = 5  # names of images in a line of the log


class Decoding:
    """Decodes the images of a list, in threads, and collects the broken ones.

    With a ``writer``, the images go to the cache; without one, they are only decoded to see if that is possible.
    """

    def __init__(self, images: Images, writer: CacheWriter | None = None) -> None:
        self.images, self.writer = images, writer
        self.indices = {name: index for index, name in enumerate(images.names)}
        self.broken: dict[str, str] = {}
        self.remarks: list[tuple[Remark, str]] = []

    def decode(self, name: str, content: bytes) -> None:
        """Decode an image, if it is in the list."""
        if name not in self.indices:
            return
        index, layout = self.indices[name], self.images.layout
        sizes = layout.sizes if self.writer else layout.given
        try:
            pixels = decode(
                content,
                layout.given[index],
                sizes[index],
                turns=self.images.turns,
                remark=lambda remark: self.remarks.append((remark, name)),
            )
        except BrokenImageError as error:
            self.broken[name] = str(error)
            return
        if self.writer:
            self.writer.write(index, pixels)


def workers(config: Config, processes: int = 1) -> int:
    """Return the number of reading threads of each process, if ``processes`` of this node read at the same time."""
    return config.workers or max(1, cores() // processes)


def names_of(decodings: Sequence[Decoding]) -> set[str]:
    """Return the names in the manifest of all images to decode."""
    return {name for decoding in decodings for name in decoding.indices}


def read_once(config: Config, dataset: Dataset, decodings: Sequence[Decoding], context: RunContext) -> None:
    """Compare every file with the manifest, and decode images in the same pass.

    With ``verify: quick`` only the images to decode are read, and compared with the manifest.

    Raises:
        MismatchError: something is missing, extra or changed.
        TrainingError: images are broken; ``details`` names each of them.
    """
    wanted = names_of(decodings)

    def visit(name: str, content: bytes) -> None:
        for decoding in decodings:
            decoding.decode(name, content)

    def read(name: str, advance: Advance) -> None:
        visit(name, dataset.read(name))
        advance(1)

    if config.verify == "full":
        label = "checking and decoding" if wanted else "checking"
        with context.log.progress(label, dataset.listing.size, "B") as advance:
            check_bytes(dataset, workers=workers(config), images=wanted, visit=visit, advance=advance)
    elif wanted:
        with context.log.progress("decoding", len(wanted), "images") as advance:
            list(run_all(read, sorted(wanted), workers=workers(config), advance=advance))
    _raise_if_broken(dataset, decodings, len(wanted))
    _log_remarks(decodings, context.log)


def _log_remarks(decodings: Sequence[Decoding], log: Log) -> None:
    found = {remark for decoding in decodings for remark in decoding.remarks}
    for kind in Remark:
        if names := sorted(name for remark, name in found if remark == kind):
            shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            log.note(f"{len(names):,} images {kind.value} ({shown})")


def _raise_if_broken(dataset: Dataset, decodings: Sequence[Decoding], total: int) -> None:
    broken = sorted({(name, why) for decoding in decodings for name, why in decoding.broken.items()})
    if broken:
        raise TrainingError(
            f"{len({name for name, _ in broken}):,} of {total:,} images can't be used",
            where=dataset.folder,
            fix="repair the dataset, or list them under data.skip_broken to leave them out",
            details=tuple(f"{name}: {why}" for name, why in broken),
        )
