"""The downloader: many files from the web, fetched politely, each either complete under its name or not there.

For each file: wait until its host is free, send the request, hash while writing under a temporary name, check, sync,
rename. After an error the file waits for another try, moves on to its next mirror, or becomes a failure.
"""

from __future__ import annotations

import hashlib
import queue
import random
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from datapack.download.content import WrongContentError, check_content
from datapack.download.hosts import Hosts, Turn
from datapack.download.model import Answer, Failure, Fetched, Request
from datapack.download.web import (
    DownloadError,
    HostBusyError,
    InterruptedTransferError,
    NoConnectionError,
    Web,
    WrongFileError,
    check_status,
    redirect_target,
)
from datapack.files import FileStat, check_space, disk_errors, remove_temporaries, sync, sync_folder, temporary_file
from datapack.progress import Silent
from datapack.urls import UrlError, check_url, hide_password, host_of, is_public

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from urllib3 import BaseHTTPResponse

    from datapack.progress import Reporter

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
    """Downloads files. What it learns about a host, such as that it is down, it remembers for later calls.

    Args:
        connections: the maximum number of simultaneous requests to a host.
        timeout: seconds that a server may be silent.
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
        self.web = Web(connections, timeout, contact, is_public)
        self.hosts: Hosts[_Task] = Hosts(connections)

    def fetch(
        self, requests: Sequence[Request], label: str, arrived: Callable[[Fetched], None] = lambda _: None
    ) -> list[Failure]:
        """Download files; return the failures, in the order of ``requests``.

        Args:
            requests: the files; their folders are created.
            label: the label of the progress.
            arrived: called in this thread for each file, once it has its final name.

        Raises:
            FetchError: the disk failed or is full. Files that are complete stay.
        """
        return _Run(self, requests, label, arrived).result() if requests else []


@dataclass
class _Task:
    """A request in progress: the URLs left to try, and what the earlier ones answered."""

    request: Request
    remaining: list[str]  # the first is the one being tried
    chain: list[str] = field(default_factory=list)  # the redirects of that URL, in order; the last is requested next
    public_only: bool = False
    tries: int = 0
    answers: list[Answer] = field(default_factory=list)


class _Run:
    """One call of `Downloader.fetch`."""

    def __init__(
        self, downloader: Downloader, requests: Sequence[Request], label: str, arrived: Callable[[Fetched], None]
    ) -> None:
        self.downloader = downloader
        self.web, self.hosts, self.reporter = downloader.web, downloader.hosts, downloader.reporter
        self.requests, self.label, self.arrived = requests, label, arrived
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
        for folder in self._folders():
            if folder.is_dir():
                with disk_errors(folder):
                    sync_folder(folder)
        order = {request: number for number, request in enumerate(self.requests)}
        return sorted(failures, key=lambda failure: order[failure.request])

    def _start(self) -> list[threading.Thread]:
        hosts: set[str] = set()
        for request in self.requests:
            task = _Task(request, list(request.urls))
            self._try_next_url(task)
            hosts.update(host_of(url) for url in task.chain)
        count = min(len(self.requests), self.downloader.connections * max(1, len(hosts)) + _SYNCING, _MOST_WORKERS)
        workers = [threading.Thread(target=self._work, name=f"fetch-{n}", daemon=True) for n in range(count)]
        for worker in workers:
            worker.start()
        return workers

    def _collect(self) -> list[Failure]:
        failures: list[Failure] = []
        single = len(self.requests) == 1  # its progress is in bytes, see _receive
        progress = Silent().progress if single else self.reporter.progress
        with progress(self.label, len(self.requests), "files") as advance:
            for _ in self.requests:
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
        self.stopping.set()
        self.hosts.close()
        patience = threading.Event()
        for _ in range(int(_STOP_TIMEOUT * 50)):
            if not any(worker.is_alive() for worker in workers):
                break
            patience.wait(0.02)
        for folder in self._folders():
            remove_temporaries(folder)

    def _folders(self) -> set[Path]:
        return {request.path.parent for request in self.requests}

    def _work(self) -> None:
        while (turn := self.hosts.take()) is not None:
            try:
                self._attempt(turn)
            except BaseException as error:  # any error must reach the thread that waits for results
                self.results.put(error)
                self.hosts.close()
            finally:
                self.hosts.finish()

    def _attempt(self, turn: Turn[_Task]) -> None:
        try:
            self._request(turn)
        except DownloadError as error:
            self._handle(turn, error)

    def _try_next_url(self, task: _Task) -> None:
        """Queue a task for its next valid URL; without one it has failed."""
        task.tries = 0
        while task.remaining:
            try:
                self._queue(task, check_url(task.remaining[0]))
            except UrlError as error:
                self._record_answer(task, str(error), definite=False)
            else:
                return
        self.results.put(Failure(task.request, tuple(task.answers)))

    def _queue(self, task: _Task, url: str, delay: float = 0.0) -> None:
        """Queue a task for a URL, without the redirects of an earlier try."""
        task.chain, task.public_only = [url], False
        self.hosts.put(host_of(url), task, delay=delay)

    def _record_answer(self, task: _Task, reason: str, *, definite: bool) -> None:
        task.answers.append(Answer(hide_password(task.remaining.pop(0)), reason, definite, task.tries))

    def _request(self, turn: Turn[_Task]) -> None:
        """Request the last URL of a task's redirects; store the file, or queue the task for the next redirect."""
        task, url = turn.item, turn.item.chain[-1]
        with ExitStack() as slot:
            slot.callback(self.hosts.release, turn)
            if turn.skipped:
                raise NoConnectionError(turn.skipped)
            with self.web.get(url, public_only=task.public_only) as response:
                self.hosts.answered(turn.host)
                target = redirect_target(response, task.chain)
                if target is None:
                    check_status(response)
                    self._store(task.request, response, slot)
                    return
        task.public_only = task.public_only or not self.web.is_private(task.chain[0])
        task.chain.append(target)
        self.hosts.put(host_of(target), task)

    def _store(self, request: Request, response: BaseHTTPResponse, slot: ExitStack) -> None:
        """Write a response's body to its file; the host is free for another request as soon as the body is here."""
        folder = request.path.parent
        with disk_errors(request.path), temporary_file(folder) as (file, temporary):
            if length := _length(response):
                check_space(folder, length)
            digest = self._receive(response, file, length)
            slot.close()
            file.flush()
            with temporary.open("rb") as written:
                _check(request, written, digest, response.headers.get("Content-Type", ""))
            sync(file)
            self._check_stopping()
            temporary.replace(request.path)
            stat = FileStat.of(request.path.stat())
        self.results.put(Fetched(request, digest, stat))

    def _receive(self, response: BaseHTTPResponse, file: BinaryIO, length: int | None) -> str:
        """Write a body and hash it in the same pass; return the sha256."""
        digest = hashlib.sha256()
        single = len(self.requests) == 1 and length
        progress = self.reporter.progress if single else Silent().progress
        with progress(self.label, length or 0, "B") as advance:
            for block in self.web.blocks(response):
                digest.update(block)
                file.write(block)
                advance(len(block))
                self._check_stopping()
        if length is not None and file.tell() != length:
            raise InterruptedTransferError("the connection was cut")
        return digest.hexdigest()

    def _check_stopping(self) -> None:
        if self.stopping.is_set():
            raise StoppedError

    def _handle(self, turn: Turn[_Task], error: DownloadError) -> None:
        """Queue a task for another try, or for its next URL."""
        task = turn.item
        task.tries += not turn.skipped
        pause = self.downloader.backoff(task.tries)
        if isinstance(error, NoConnectionError) and self.hosts.refused(turn, str(error), pause):
            self.reporter.note(f"skipping {turn.host}: {error}, several times in a row")
        if isinstance(error, HostBusyError):
            self._pause_host(turn.host, error, pause)
        if turn.skipped or task.tries >= min(self.downloader.tries, error.max_tries or self.downloader.tries):
            self._record_answer(task, str(error), definite=error.definite)
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


def _length(response: BaseHTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _check(request: Request, file: BinaryIO, digest: str, media_type: str) -> None:
    """Raise `WrongFileError` if a downloaded file is not the requested one."""
    try:
        check_content(file, request.path.name, request.pixels, media_type)
    except WrongContentError as error:
        raise WrongFileError(str(error)) from error
    if not digest.startswith(request.sha256):
        raise WrongFileError(f"sha256 expected {request.sha256}, found {digest}")
