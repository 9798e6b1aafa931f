"""The process that decodes images for `deep`: ``python -m datapack.inspect.deep_worker``.

Its first line of input is a list: seconds for an image, bytes of memory, the payload's folder. It answers that it is
ready. Each further line is a list of paths, and the answer a list of the results. It ends with its input.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import sys
from pathlib import Path

from datapack.inspect.pixels import deep_image


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which the terminal stops too, ends this process
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends it, whatever a decoder does
    seconds, memory, payload = json.loads(sys.stdin.readline())
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _answer("ready")
    for line in sys.stdin:
        found = []
        for path in json.loads(line):
            signal.alarm(seconds)
            found.append(dataclasses.astuple(deep_image(Path(payload) / path, path)))
            signal.alarm(0)
        _answer(found)


def _answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
