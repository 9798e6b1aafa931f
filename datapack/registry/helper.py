"""Credential helpers: programs that return the login for a server, such as ``docker-credential-pass``."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from datapack.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # no slash: only programs in the PATH are run
_PLAIN_NAME = re.compile(r"[a-z]+(?:[.-][a-z]+)*")  # as every known helper has; anything else may be a pasted secret
_NOT_FOUND = b"credentials not found"  # how a helper says that it has none
_TIMEOUT = 300.0  # seconds: a helper may ask the user for a passphrase
_LIMIT = 1 << 16  # bytes of an answer


def is_helper(name: Any) -> bool:
    """Whether a file's value can be the name of a helper."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def ask_helper(helper: str, server: str, path: Path) -> tuple[str, str] | None:
    """Ask a helper for the user and the secret of a server; return None if it has none.

    Args:
        helper: what `is_helper` accepts.
        server: the registry.
        path: the file that names the helper, for errors.

    Raises:
        ImageError: the program is missing, or fails, or answers with something else. The error shows no answer.
    """
    program = f"docker-credential-{helper if _PLAIN_NAME.fullmatch(helper) else '...'}"
    try:
        status, answer = _run(f"docker-credential-{helper}", server)
    except FileNotFoundError:
        fix = f"install {program}, or remove its name from the file"
        raise ImageError("the credential helper is not installed", where=path, found=program, fix=fix) from None
    except OSError as error:
        raise _failed(program, path, error.strerror or type(error).__name__) from None
    if status:
        if _NOT_FOUND in answer:
            return None
        raise _failed(program, path, f"exit status {status}")
    try:
        found = json.loads(answer)
        user, secret = found["Username"], found["Secret"]
        if not (isinstance(user, str) and isinstance(secret, str)):
            raise TypeError
        (user + secret).encode()  # half of a surrogate pair can't be sent
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _failed(program, path, "an answer without Username and Secret") from None
    return user, secret


def _run(program: str, server: str) -> tuple[int, bytes]:
    """Run a helper; return its exit status and its answer."""
    question, end = os.pipe()
    try:
        os.write(end, server.encode())
        os.close(end)
        with subprocess.Popen(
            [program, "get"], stdin=question, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                deadline = time.monotonic() + _TIMEOUT
                answer = _read(cast("BinaryIO", process.stdout), deadline)
                return process.wait(max(1.0, deadline - time.monotonic())), answer
            finally:
                process.kill()
    except subprocess.TimeoutExpired:
        raise OSError(0, "an answer, but no end of the program") from None
    finally:
        os.close(question)


def _read(out: BinaryIO, deadline: float) -> bytes:
    """Read an answer to its end. It may never come: a child that a helper leaves behind can hold its output open."""
    answer = b""
    while select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
        block = os.read(out.fileno(), _LIMIT)
        answer += block
        if not block:
            return answer
        if len(answer) > _LIMIT:
            raise OSError(0, f"an answer of over {_LIMIT >> 10} KiB")
    raise OSError(0, f"no answer within {_TIMEOUT:g} s")


def _failed(program: str, path: Path, found: str) -> ImageError:
    fix = f"run '{program} get' to see why, or log in again"
    return ImageError(
        "the credential helper failed", where=path, expected=f"a login from {program}", found=found, fix=fix
    )
