"""A terminal for tests: a program runs in it, and what it shows is returned."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PROMPT = "ready> "  # of a shell, when it takes what is typed


def in_terminal(command: Sequence[str], folder: Path, environment: Mapping[str, str], typed: str = "") -> bytes:
    """Run a program in a terminal of its own to its end; type a text whenever it shows `PROMPT`."""
    ours, terminal = os.openpty()
    program = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    try:
        shown, typed_at = b"", 0
        with contextlib.suppress(OSError):  # the terminal ends with the program
            while block := os.read(ours, 4096):
                shown += block
                if typed and shown[typed_at:].rstrip(b"\x1b[?2004hK").endswith(PROMPT.encode()):
                    os.write(ours, typed.encode())  # before the prompt, the terminal would take Ctrl-U for itself
                    typed_at = len(shown)
        program.wait(timeout=20)
    finally:
        program.kill()
        program.wait()
        os.close(ours)
    return shown
