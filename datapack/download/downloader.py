"""The downloader: many files from the web, fetched politely, each either whole under its name or not there.

A file's way: wait for its host's turn, ask, hash while writing under a temporary name, check, sync, rename. What goes
wrong sends it back to wait, on to the next mirror, or into the list of failures.
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
from datapack.download.web import (
    HostBusyError,
    InterruptedTransferError,
    NoConnectionError,
    TroubleError,
    Web,
    WrongFileError,
    check_status,
    redirect_target,
)
from datapack.files import FileStat, check_space, disk_errors, remove_temporaries, sync, sync_folder, temporary_file
from datapack.progress import Silent
from datapack.urls import UrlError, check_url, host_of, is_public, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from urllib3 import BaseHTTPResponse

    from datapack.progress import Reporter

_LONGEST_WAIT = 3600.0  # seconds that a host may ask for; one that asks for more is left out
_WORTH_A_NOTE = 5.0  # seconds of rest that people would wonder about
_SYNCING = 5  # workers beyond the connections, so that these are in use while files are checked and synced
_MOST_WORKERS = 32
_PATIENCE = 2.0  # seconds for workers to stop in


@dataclass(frozen=True)
class Request:
    """A file to fetch.

    ``addresses`` are tried in order. ``sha256`` is what its hash must begin with, ``pixels`` the width and height that
    an image must have; empty and None where they are not known.
    """

    addresses: tuple[str, ...]
    path: Path
    sha256: str = ""
    pixels: tuple[int, int] | None = None


@dataclass(frozen=True)
class Fetched:
    """A file that is whole, on disk and under its name."""

    request: Request
    sha256: str
    stat: FileStat


@dataclass(frozen=True)
class Answer:
    """What one address gave in place of the file, asked so many times. ``definite``: it has no such file."""

    address: str
    reason: str
    definite: bool
    tries: int


@dataclass(frozen=True)
class Failure:
    """A file that no address gave."""

    request: Request
    answers: tuple[Answer, ...]

    @property
    def reason(self) -> str:
        return self.answers[-1].reason

    @property
    def definite(self) -> bool:
        """Whether every address answered that it has no such file; another run would not find it either."""
        return all(answer.definite for answer in self.answers)


class StoppedError(Exception):
    """The run was stopped while a file was on its way."""


def backoff(tries: int) -> float:
    """Return seconds to wait after so many tries: exponential, with full jitter, a minute at most."""
    return random.uniform(0, min(60.0, 2.0 ** (tries - 1)))  # noqa: S311 - jitter is no secret


class Downloader:
    """Fetches files. What it learns of a host, such as that it is down, holds as long as the downloader.

    Args:
        connections: how many questions a host gets at once.
        timeout: seconds that a server may be silent.
        tries: how often an address is asked before its trouble counts as lasting.
        contact: who asks, for the servers' keepers: a homepage, an e-mail address.
        reporter: what hears of progress, of long waits and of hosts that are left out.
        longest_wait: seconds of ``Retry-After`` that are waited; a host that asks for more is left out.
        backoff: seconds to wait after so many tries that failed.
        is_public: says of an IP address whether it is one of the open internet.
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
        """Fetch files; return those that could not be had, in the order of ``requests``.

        Args:
            requests: what to fetch; their folders are made.
            label: what progress is shown as.
            arrived: called in this thread for each file, once it has its name.

        Raises:
            FetchError: the disk failed or is full. The files that arrived until then stay.
        """
        return _Run(self, requests, label, arrived).result() if requests else []


@dataclass
class _Task:
    """A request on its way: the address whose turn it is, and what became of those before."""

    request: Request
    remaining: list[str]  # addresses not done with; the first is the one being tried
    asked: list[str] = field(default_factory=list)  # for that one: what is asked, and what redirected there, in order
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
            task = _Task(request, list(request.addresses))
            self._begin(task)
            hosts.update(host_of(address) for address in task.asked)
        count = min(len(self.requests), self.downloader.connections * max(1, len(hosts)) + _SYNCING, _MOST_WORKERS)
        workers = [threading.Thread(target=self._work, name=f"fetch-{n}", daemon=True) for n in range(count)]
        for worker in workers:
            worker.start()
        return workers

    def _collect(self) -> list[Failure]:
        failures: list[Failure] = []
        single = len(self.requests) == 1  # whose progress is in bytes, see _receive
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
        """End the workers; one that waits for a silent server is left behind, and finds its file gone."""
        self.stopping.set()
        self.hosts.close()
        patience = threading.Event()
        for _ in range(int(_PATIENCE * 50)):
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
            except BaseException as error:  # whatever it is, the thread that waits must know
                self.results.put(error)
                self.hosts.close()
            finally:
                self.hosts.finish()

    def _attempt(self, turn: Turn[_Task]) -> None:
        try:
            self._serve(turn)
        except TroubleError as trouble:
            self._react(turn, trouble)

    def _begin(self, task: _Task) -> None:
        """Send a task to the next address that can be asked at all; without one it has failed."""
        task.tries = 0
        while task.remaining:
            try:
                self._ask(task, check_url(task.remaining[0]))
            except UrlError as error:
                self._note_answer(task, str(error), definite=False)
            else:
                return
        self.results.put(Failure(task.request, tuple(task.answers)))

    def _ask(self, task: _Task, address: str, delay: float = 0.0) -> None:
        """Let a task wait until its address can be asked, from the beginning of its redirects."""
        task.asked, task.public_only = [address], False
        self.hosts.put(host_of(address), task, delay=delay)

    def _note_answer(self, task: _Task, reason: str, *, definite: bool) -> None:
        task.answers.append(Answer(shown(task.remaining.pop(0)), reason, definite, task.tries))

    def _serve(self, turn: Turn[_Task]) -> None:
        """Ask the address whose turn it is; put the file in its place, or follow where the answer leads."""
        task, address = turn.item, turn.item.asked[-1]
        with ExitStack() as slot:
            slot.callback(self.hosts.release, turn)
            if turn.left_out:
                raise NoConnectionError(turn.left_out)
            with self.web.get(address, public_only=task.public_only) as response:
                self.hosts.answered(turn.host)
                target = redirect_target(response, task.asked)
                if target is None:
                    check_status(response)
                    self._land(task.request, response, slot)
                    return
        task.public_only = task.public_only or not self.web.is_private(task.asked[0])
        task.asked.append(target)
        self.hosts.put(host_of(target), task)

    def _land(self, request: Request, response: BaseHTTPResponse, slot: ExitStack) -> None:
        """Bring an answer's body to its place; the host is free for another question once the body is here."""
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

    def _react(self, turn: Turn[_Task], trouble: TroubleError) -> None:
        """Send a task back to wait, or on to its next address."""
        task = turn.item
        task.tries += not turn.left_out
        pause = self.downloader.backoff(task.tries)
        if isinstance(trouble, NoConnectionError) and self.hosts.refused(turn, str(trouble), pause):
            self.reporter.note(f"{turn.host} is left out: {trouble}, several times in a row")
        if isinstance(trouble, HostBusyError):
            self._rest(turn.host, trouble, pause)
        if turn.left_out or task.tries >= min(self.downloader.tries, trouble.most_tries or self.downloader.tries):
            self._note_answer(task, str(trouble), definite=trouble.definite)
            self._begin(task)
        else:
            self._ask(task, check_url(task.remaining[0]), delay=pause)

    def _rest(self, host: str, trouble: HostBusyError, pause: float) -> None:
        """Leave a host alone as long as it asks for, or for good if that is too long."""
        seconds = pause if trouble.retry_after is None else trouble.retry_after
        if seconds > self.downloader.longest_wait:
            self.hosts.leave_out(host, str(trouble))
            self.reporter.note(f"{host} is left out: {trouble}, it asks to wait {seconds:,.0f} s")
        elif self.hosts.pause(host, seconds) and seconds >= _WORTH_A_NOTE:
            self.reporter.note(f"{host} answers {trouble}: asked again in {seconds:,.0f} s")


def _length(response: BaseHTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _check(request: Request, file: BinaryIO, digest: str, media_type: str) -> None:
    """Raise `WrongFileError` unless a file that was written is what was asked for."""
    try:
        check_content(file, request.path.name, request.pixels, media_type)
    except WrongContentError as error:
        raise WrongFileError(str(error)) from error
    if not digest.startswith(request.sha256):
        raise WrongFileError(f"sha256 expected {request.sha256}, found {digest}")
