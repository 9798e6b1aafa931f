"""The process that decodes images for `deep`: ``python -m datapack.inspect.deep_worker SECONDS MEMORY PAYLOAD``.

It says that it is ready. Then it reads a list of paths per line, and answers with the results as a list in one line. It
ends with its input.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import signal
import sys
from pathlib import Path

from datapack.inspect.pixels import deep_image


def main(seconds: int, memory: int, payload: Path) -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which the terminal stops too, ends this process
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends it, whatever a decoder does
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        found = []
        for path in json.loads(line):
            signal.alarm(seconds)
            found.append(dataclasses.astuple(deep_image(payload / path, path)))
            signal.alarm(0)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
