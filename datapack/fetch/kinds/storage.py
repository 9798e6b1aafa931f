"""Fetch files from an object store or another remote file system.

What the store says of an object (its ETag, generation or time) stands for its bytes: an object that was fetched is not
fetched again while that is the same, and one for which it changes during the run is not used.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from datapack.download import Failure
from datapack.download.model import Answer
from datapack.errors import FetchError
from datapack.executor import run_all
from datapack.fetch.context import SourceResult
from datapack.fetch.payload import WantedFile, payload_path
from datapack.fetch.store_errors import explain
from datapack.fetch.stores import ChangedError, Store, describe_changes, failure, quiet
from datapack.files import FileStat, check_space, disk_errors, sync, sync_folder, temporary_file
from datapack.hashing import Checksum
from datapack.urls import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from datapack.catalog.sources import StorageSource
    from datapack.executor import Advance
    from datapack.fetch.context import FetchContext
    from datapack.fetch.stores import Listed

Result = TypeVar("Result")

_POLL = 0.2  # seconds


class _Object(NamedTuple):
    """An object to fetch."""

    number: int
    file: WantedFile
    listed: Listed


class _Arrived(NamedTuple):
    """An object that is complete under its final name."""

    sha256: str
    stat: FileStat


def fetch_storage(source: StorageSource, context: FetchContext) -> SourceResult:
    """Fetch the objects that are not here yet, several at once.

    Raises:
        FetchError: the store can't be asked, or what it holds changed meanwhile.
    """
    payload = context.payload
    store = Store.open(source, context.downloader.connections)
    before = {name: file for name, file in store.list().items() if not context.excluded.match(name)}
    wanted = _wanted(source, context, store, before)
    present = payload.claim(list(wanted.values()))
    payload.keep({file: stat for file, stat in present.items() if file.is_pinned})
    absent = [name for name in before if not payload.has(wanted[name].path)]
    objects = [_Object(number, wanted[name], before[name]) for number, name in enumerate(absent)]
    if not objects:
        return SourceResult()
    total = sum(max(each.listed.size, 0) for each in objects)
    with disk_errors(payload.folder):
        check_space(payload.folder, total)
    with quiet(), context.reporter.progress(source.label, total, "B") as advance:
        failed = _Fetch(source, context, store).run(objects, advance)
    if not failed:
        _check_unchanged(source, context, store, before)
    return SourceResult(failed=failed)


def _wanted(
    source: StorageSource, context: FetchContext, store: Store, listed: Mapping[str, Listed]
) -> dict[str, WantedFile]:
    """Return the files by their names, each with the sha256 that the same object had before, if that is known."""
    keys = {_key(store, name, file): name for name, file in listed.items() if file.mark}
    known = {keys[key]: found.sha256 for key, found in context.payload.cache.find(_owner(source), keys)}
    return {
        name: WantedFile(
            payload_path(source.into, name), source.label, store.url(name), Checksum("sha256", known.get(name, ""))
        )
        for name in listed
    }


def _owner(source: StorageSource) -> str:
    return f"store {source.endpoint or ''}"


def _key(store: Store, name: str, file: Listed) -> str:
    return f"{store.url(name)} {file.size} {file.mark}"


def _check_unchanged(source: StorageSource, context: FetchContext, store: Store, before: Mapping[str, Listed]) -> None:
    """List the store once more; drop the files of objects that changed since, and raise."""
    after = {name: file for name, file in store.list().items() if not context.excluded.match(name)}
    found = describe_changes(before, after)
    if not found:
        return
    changed = [payload_path(source.into, name) for name in before if after.get(name) != before[name]]
    context.payload.drop(changed)
    fix = "run the same command again when nobody writes to it: it fetches only what is missing"
    raise FetchError("the store changed while it was read", where=source.label, found=found, fix=fix)


@dataclass(frozen=True)
class _Fetch:
    """The fetching of a source's objects."""

    source: StorageSource
    context: FetchContext
    store: Store

    def run(self, objects: Sequence[_Object], advance: Callable[[int], None]) -> dict[WantedFile, Failure]:
        """Fetch objects; return those that the store does not give."""
        payload, failed = self.context.payload, dict[WantedFile, Failure]()
        results = run_all(self._fetch, objects, workers=self.context.downloader.connections, advance=advance)
        for each, result in zip(objects, results, strict=True):
            if isinstance(result, Failure):
                failed[each.file] = result
                continue
            payload.add(each.file, result.sha256, result.stat)
            if each.listed.mark:
                key = f"{each.file.url} {each.listed.size} {each.listed.mark}"
                payload.cache.record(_owner(self.source), key, FileStat(result.stat.size, 0), result.sha256)
        with disk_errors(payload.folder):
            for folder in {(payload.folder / each.file.path).parent for each in objects}:
                if folder.is_dir():
                    sync_folder(folder)
        return failed

    def _fetch(self, each: _Object, advance: Advance) -> _Arrived | Failure:
        """Fetch an object, with the downloader's number of tries."""
        downloader, tries = self.context.downloader, 0
        while True:
            tries += 1
            advance.set(0)
            try:
                return self._try(each, advance)
            except ChangedError as error:
                return self._failure(each, str(error), tries)
            except _StoreError as error:
                trouble = explain(error.cause, self.source.scheme)
                if trouble.all_fail:
                    raise failure(error.cause, self.source) from None
                if not trouble.temporary or tries == downloader.tries:
                    return self._failure(each, trouble.reason, tries, definite=not trouble.temporary)
            advance.wait(downloader.backoff(tries))

    def _failure(self, each: _Object, reason: str, tries: int, *, definite: bool = False) -> Failure:
        answer = Answer(hide_secrets(each.file.url), reason, definite, tries)
        return Failure(each.number, (answer,))

    def _try(self, each: _Object, advance: Advance) -> _Arrived:
        target = self.context.payload.folder / each.file.path
        with disk_errors(target), temporary_file(target.parent) as (file, temporary):
            sha256 = _wait_for(lambda: self._receive(each, file, advance), advance)
            sync(file)
            temporary.replace(target)
            return _Arrived(sha256, FileStat.of(target.lstat()))

    def _receive(self, each: _Object, file: BinaryIO, advance: Advance) -> str:
        """Write an object's bytes to a file; return their sha256."""
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        blocks = _from_store(lambda: self.store.read(each.listed))
        while block := _from_store(lambda: next(blocks, b"")):
            sha256.update(block)
            md5.update(block)
            file.write(block)
            advance(len(block))
        _from_store(lambda: self.store.check(each.listed, file.tell(), md5.hexdigest()))
        return sha256.hexdigest()


class _StoreError(Exception):
    """An error of the store, and not of the disk."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


def _from_store(call: Callable[[], Result]) -> Result:
    try:
        return call()
    except ChangedError:
        raise
    except Exception as error:
        raise _StoreError(error) from None


def _wait_for(call: Callable[[], Result], advance: Advance) -> Result:
    """Wait for a call that a silent server can hold up; leave it behind as soon as other work fails, or at Ctrl-C."""
    ended: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            ended.put((call(), None))
        except BaseException as error:  # any error must reach the thread that waits
            ended.put((None, error))

    threading.Thread(target=run, name="store", daemon=True).start()
    while True:
        advance(0)
        with suppress(Empty):
            result, error = ended.get(timeout=_POLL)
            if error is not None:
                raise error
            return result  # type: ignore[return-value]
