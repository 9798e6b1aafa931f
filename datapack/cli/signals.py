"""SIGTERM and Ctrl-C: the first of them ends a command in the same way, wherever it arrives."""

from __future__ import annotations

import signal
import sys

from datapack.executor import raise_unless_held

_MOMENT = 0.01  # seconds


class Signals:
    """Raises `KeyboardInterrupt` after the first SIGTERM or Ctrl-C; further ones do nothing.

    Other code can lose the exception: a library catches it or makes another of it, and Python shows one from a
    finalizer, or from a hook that runs around a fork, and goes on. So it is raised again a moment after Python has
    ignored it, `check` raises it before an error is shown, and `end` when the command has ended.
    """

    def __init__(self) -> None:
        self._came = self._ended = False
        self._handlers = {
            number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
        }
        self._hook = sys.unraisablehook

    def catch(self) -> None:
        """Handle signals from now on. One that is ignored stays so, as Ctrl-C in a background job of a shell."""
        sys.unraisablehook = self._raise_again
        signal.signal(signal.SIGALRM, self._on_alarm)
        for number in (signal.SIGTERM, signal.SIGINT):
            if self._handlers[number] != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if a signal came."""
        if self._came:
            raise KeyboardInterrupt

    def end(self) -> None:
        """Let signals do nothing from now on, but raise `KeyboardInterrupt` if one came before."""
        self._ended = True
        self.check()

    def restore(self) -> None:
        """Handle signals as before `catch`; call it after `end`."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def _on_signal(self, *_: object) -> None:
        if not self._came and not self._ended:
            self._came = True
            raise_unless_held(self.check)

    def _on_alarm(self, *_: object) -> None:
        raise_unless_held(self._check_unless_ended)

    def _check_unless_ended(self) -> None:
        if not self._ended:
            self.check()

    def _raise_again(self, ignored: sys.UnraisableHookArgs) -> None:
        if self._came and issubclass(ignored.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _MOMENT)
        else:
            self._hook(ignored)
