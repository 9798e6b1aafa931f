"""The downloader: many files from the web, fetched politely, each either complete under its name or not there.

For each file: wait until its host is free, send the request, hash while writing under a temporary name, check, sync,
rename. After an error the file waits for another try, moves on to its next mirror, or becomes a failure.
"""

from __future__ import annotations

import queue
import random
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from datapack.download.hosts import Hosts, Turn
from datapack.download.model import Failure, Fetched
from datapack.download.partial import Partial
from datapack.download.responses import (
    DownloadError,
    HostBusyError,
    InterruptedTransferError,
    NoConnectionError,
    RefusedError,
    WrongFileError,
    check_encoding,
    check_status,
    redirect_target,
    to_download_error,
)
from datapack.download.task import Task, first_host
from datapack.executor import held
from datapack.files import FileStat, disk_errors, remove_temporaries, sync, sync_folder
from datapack.progress import Silent
from datapack.urls import UrlError, check_url, host_of, is_public
from datapack.web import Web, WebError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from datapack.download.model import Requests
    from datapack.progress import Reporter
    from datapack.web import Response

_LONGEST_WAIT = 3600.0  # seconds of Retry-After; a host that asks for more is skipped
_NOTED_WAIT = 5.0  # seconds: the user is told about pauses of at least this length
_SYNCING = 5  # extra workers, so that all connections stay busy while files are checked and synced
_MOST_WORKERS = 32
_STOP_TIMEOUT = 2.0  # seconds that workers have to stop


class StoppedError(Exception):
    """The run was stopped while a file was being downloaded."""


def backoff(tries: int) -> float:
    """Return the seconds to wait after this many tries: exponential backoff with full jitter, at most a minute."""
    return random.uniform(0, min(60.0, 2.0 ** (tries - 1)))  # noqa: S311 - jitter is not a secret


class Downloader:
    """Downloads files, and remembers which hosts are down or ask for a pause.

    Args:
        connections: the maximum number of simultaneous requests to a host.
        timeout: the patience with a server in seconds, see `Web`.
        tries: how often a URL is tried before a temporary error counts as a failure.
        contact: tells server operators who is downloading: a homepage, an e-mail address.
        reporter: receives progress, and notes about long waits and skipped hosts.
        longest_wait: the longest ``Retry-After`` in seconds that is obeyed; a host that asks for more is skipped.
        backoff: returns the seconds to wait after a number of failed tries.
        is_public: whether an IP address is on the public internet.
    """

    def __init__(
        self,
        *,
        connections: int = 5,
        timeout: float = 30.0,
        tries: int = 5,
        contact: str = "",
        reporter: Reporter | None = None,
        longest_wait: float = _LONGEST_WAIT,
        backoff: Callable[[int], float] = backoff,
        is_public: Callable[[str], bool] = is_public,
    ) -> None:
        self.connections = connections
        self.tries = tries
        self.longest_wait = longest_wait
        self.backoff = backoff
        self.reporter: Reporter = reporter or Silent()
        self.web = Web(connections=connections, timeout=timeout, contact=contact, is_public=is_public)
        self.hosts: Hosts[int | Task] = Hosts(connections)

    def fetch(
        self,
        requests: Requests,
        label: str,
        arrived: Callable[[Fetched], None] = lambda _: None,
        named: Collection[str] = (),
    ) -> list[Failure]:
        """Download files; return the failures, in the order of ``requests``.

        Args:
            requests: the files; their folders are created. Each is read twice.
            label: the label of the progress.
            arrived: called in this thread for each file, once it has its final name.
            named: hosts that may have private addresses, as `host_of` writes them. All others must be public.

        Raises:
            FetchError: the disk failed or is full. Files that are complete stay.
        """
        return _Run(self, requests, label, arrived, named).result() if len(requests) else []


class _Run:
    """One call of `Downloader.fetch`."""

    def __init__(
        self,
        downloader: Downloader,
        requests: Requests,
        label: str,
        arrived: Callable[[Fetched], None],
        named: Collection[str],
    ) -> None:
        self.downloader = downloader
        self.web, self.hosts, self.reporter = downloader.web, downloader.hosts, downloader.reporter
        self.requests, self.label, self.arrived, self.named = requests, label, arrived, named
        self.folders: set[Path] = set()
        self.results: queue.SimpleQueue[Fetched | Failure | BaseException] = queue.SimpleQueue()
        self.stopping = threading.Event()

    def result(self) -> list[Failure]:
        workers = self._start()
        try:
            failures = self._collect()
        except BaseException:
            self._stop(workers)
            raise
        for worker in workers:
            worker.join()
        for folder in self.folders:
            if folder.is_dir():
                with disk_errors(folder):
                    sync_folder(folder)
        return sorted(failures, key=lambda failure: failure.number)

    def _start(self) -> list[threading.Thread]:
        """Queue all requests by their hosts, then start the workers."""
        hosts: set[str] = set()
        for number in range(len(self.requests)):
            host = first_host(self.requests[number])
            hosts.add(host)
            self.hosts.add(host, number)
        count = min(len(self.requests), self.downloader.connections * len(hosts) + _SYNCING, _MOST_WORKERS)
        workers = [threading.Thread(target=self._work, name=f"fetch-{n}", daemon=True) for n in range(count)]
        with held():
            for worker in workers:
                worker.start()
        return workers

    def _collect(self) -> list[Failure]:
        failures: list[Failure] = []
        single = len(self.requests) == 1  # its progress is in bytes, see _receive
        progress = Silent().progress if single else self.reporter.progress
        with progress(self.label, len(self.requests), "files") as advance:
            for _ in range(len(self.requests)):
                match self.results.get():
                    case Fetched() as fetched:
                        self.arrived(fetched)
                    case Failure() as failure:
                        failures.append(failure)
                    case error:
                        raise error
                advance(1)
        return failures

    def _stop(self, workers: list[threading.Thread]) -> None:
        """Stop the workers; one that waits for a silent server is abandoned and will find its file gone."""
        with held():
            self.stopping.set()
            self.hosts.close()
        patience = threading.Event()
        for _ in range(int(_STOP_TIMEOUT * 50)):
            if not any(worker.is_alive() for worker in workers):
                break
            patience.wait(0.02)
        for folder in self.folders:
            remove_temporaries(folder)

    def _work(self) -> None:
        while (turn := self.hosts.take()) is not None:
            try:
                self._attempt(turn)
            except BaseException as error:  # any error must reach the thread that waits for results
                self.results.put(error)
                self.hosts.close()
            finally:
                self.hosts.finish()

    def _attempt(self, turn: Turn[int | Task]) -> None:
        """Make the request whose turn it is."""
        task = turn.item if isinstance(turn.item, Task) else self._begin(turn.item)
        if not task.chain:
            self.hosts.release(turn)
            self._try_next_url(task)
            return
        try:
            self._request(turn, task)
        except DownloadError as error:
            self._handle(turn, task, error)

    def _begin(self, number: int) -> Task:
        request = self.requests[number]
        self.folders.add(request.path.parent)
        return Task.begin(number, request)

    def _try_next_url(self, task: Task) -> None:
        """Queue a task for its next valid URL; without one it has failed."""
        task.restart()
        while task.remaining:
            try:
                self._queue(task, check_url(task.remaining[0]))
            except UrlError as error:
                task.record_answer(str(error), definite=False)
            else:
                return
        self.results.put(Failure(task.number, tuple(task.answers)))

    def _queue(self, task: Task, url: str, delay: float = 0.0) -> None:
        """Queue a task for a URL, without the redirects of an earlier try."""
        task.chain = [url]
        self.hosts.put(host_of(url), task, delay=delay)

    def _request(self, turn: Turn[int | Task], task: Task) -> None:
        """Request the last URL of a task's redirects; store the file, or queue the task for the next redirect."""
        url = task.chain[-1]
        with ExitStack() as slot:
            slot.callback(self.hosts.release, turn)
            if turn.skipped:
                raise NoConnectionError(turn.skipped)
            headers = {
                **task.request.headers.for_request(task.chain),
                **(task.partial.headers(url) if task.partial else {}),
            }
            try:
                with self.web.request("GET", url, headers=headers, public_only=not self._is_named(url)) as response:
                    self.hosts.answered(turn.host)
                    target = redirect_target(response, task.chain)
                    if target is None:
                        self._store(task, response, slot)
                        return
            except WebError as error:
                raise to_download_error(error, redirected=len(task.chain) > 1) from error
        task.chain.append(target)
        self.hosts.put(host_of(target), task)

    def _is_named(self, url: str) -> bool:
        """Whether the catalog names a URL's host. A named host at port 80 may redirect to its port for https."""
        host = host_of(url)
        return host in self.named or (host.endswith(":443") and f"{host.removesuffix(':443')}:80" in self.named)

    def _store(self, task: Task, response: Response, slot: ExitStack) -> None:
        """Write a response's body to its file; the host is free for another request as soon as the body is here."""
        try:
            check_status(response, has_login=bool(task.request.headers))
        except RefusedError as error:
            if task.partial is None:
                raise
            task.discard()  # it may refuse only the rest
            raise InterruptedTransferError(str(error)) from error
        path = task.request.path
        check_encoding(response, path.name)
        self._check_stopping()
        with disk_errors(path):
            if task.partial is None:
                task.partial = Partial(task.request)
            with task.partial.open(response) as file:
                length_known = self._receive(task.partial, response, file)
                slot.close()
                file.flush()
                task.check(response.headers.get("Content-Type", ""), length_known=length_known)
                sync(file)
            self._check_stopping()
            task.partial.publish(path)
            stat = FileStat.of(path.stat())
        self.results.put(Fetched(task.number, task.partial.sha256, stat))

    def _receive(self, partial: Partial, response: Response, file: BinaryIO) -> bool:
        """Append a body to a file; return whether the server said how long the file is."""
        single = len(self.requests) == 1 and partial.total
        progress = self.reporter.progress if single else Silent().progress
        with progress(self.label, partial.total or 0, "B") as advance:
            advance(partial.size)
            for block in response.blocks(encoded=True):
                partial.write(file, block)
                advance(len(block))
                self._check_stopping()
        if partial.total is not None and partial.size != partial.total:
            raise InterruptedTransferError("the connection was cut")
        return partial.total is not None

    def _check_stopping(self) -> None:
        if self.stopping.is_set():
            raise StoppedError

    def _handle(self, turn: Turn[int | Task], task: Task, error: DownloadError) -> None:
        """Queue a task for another try, or for its next URL."""
        task.count_try(counted=not turn.skipped)
        pause = self.downloader.backoff(task.tries)
        if isinstance(error, NoConnectionError) and self.hosts.refused(turn, str(error), pause):
            self.reporter.note(f"skipping {turn.host}: {error}, several times in a row")
        if isinstance(error, HostBusyError):
            self._pause_host(turn.host, error, pause)
        if isinstance(error, WrongFileError):
            task.discard()
        if turn.skipped or task.tries >= min(self.downloader.tries, error.max_tries or self.downloader.tries):
            task.record_error(error)
            self._try_next_url(task)
        else:
            self._queue(task, check_url(task.remaining[0]), delay=pause)

    def _pause_host(self, host: str, error: HostBusyError, pause: float) -> None:
        """Pause a host for as long as it asks, or skip it if that is too long."""
        seconds = pause if error.retry_after is None else error.retry_after
        if seconds > self.downloader.longest_wait:
            self.hosts.skip(host, str(error))
            self.reporter.note(f"skipping {host}: {error}, and it asks to wait {seconds:,.0f} s")
        elif self.hosts.pause(host, seconds) and seconds >= _NOTED_WAIT:
            self.reporter.note(f"{host} answers {error}: trying again in {seconds:,.0f} s")
