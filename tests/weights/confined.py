"""Jobs that try what a process for hostile files must not be able to do."""

import os
import socket
from pathlib import Path


def trying(value):
    """Return the function that tries something, and says what came of it."""
    return lambda: _try(TRIES[value["what"]], value)


def _try(what, value):
    try:
        return f"done: {what(value)}"
    except (OSError, MemoryError) as error:
        return f"refused: {type(error).__name__}"


def _start(_):
    """Start a program, which even root may; without files it can't load its libraries."""
    status = os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1]
    if status:
        raise OSError(status)


def _spin(_):
    while True:
        pass


TRIES = {
    "read": lambda value: Path(value["path"]).read_text(),
    "write": lambda value: Path(value["path"] + ".new").write_text("x"),
    "connect": lambda _: socket.create_connection(("127.0.0.1", 9)),
    "start": _start,
    "memory": lambda _: len(bytearray(1 << 30)),
    "spin": _spin,
    "end": lambda _: os._exit(3),
    "environment": lambda _: sorted(os.environ),
}
