"""A signal at the worst moment: just after the main thread has taken a lock that other threads need."""

import os
import signal
import sys
import threading
from contextlib import contextmanager


@contextmanager
def signal_after_lock(caller, nth, number=signal.SIGTERM):
    """Send a signal to this process when ``caller`` has taken the lock of a condition for the nth time.

    If it is not taken so often, as nobody takes it there any more, the signal is sent at the end.
    """
    seen = 0

    def called(frame, _event, _argument):
        code, back = frame.f_code, frame.f_back
        ours = (code.co_name, code.co_filename) == ("__enter__", threading.__file__)
        return taken if ours and back.f_code.co_name == caller else None

    def taken(_frame, event, _argument):
        nonlocal seen
        seen += event == "return"
        if event == "return" and seen == nth:
            os.kill(os.getpid(), number)
        return taken

    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(None)
    if seen < nth:
        os.kill(os.getpid(), number)
