"""Run ``python -m trainers`` in this process and write down what only the process itself knows.

python -m benchmarks.gpu.watched REPORT [--deterministic] [--syncs] [--turns SECONDS] -- train --config ...

REPORT is a JSON file: the peak of GPU memory, and with ``--syncs`` how often each line of Python made the CPU wait for
the GPU. ``--deterministic`` chooses algorithms that give the same bits each time, where there are any. ``--turns`` is
how long a thread of Python may run while another one waits; the default is 5 ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

_SYNC = "synchronizing CUDA operation"


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--syncs", action="store_true")
    parser.add_argument("--turns", type=float)
    parser.add_argument("arguments", nargs="+")
    options = parser.parse_args()
    from trainers.process import tune_process

    tune_process()  # before torch
    import torch

    from trainers.__main__ import main as run

    if options.deterministic:
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
    if options.turns:
        sys.setswitchinterval(options.turns)
    syncs = _count_syncs() if options.syncs and torch.cuda.is_available() else Counter[str]()
    status = run(options.arguments)
    report: dict[str, Any] = {"status": status, "syncs": dict(syncs.most_common())}
    if torch.cuda.is_initialized():
        report["peak_allocated"] = torch.cuda.max_memory_allocated()
        report["peak_reserved"] = torch.cuda.max_memory_reserved()
    options.report.write_text(json.dumps(report, indent=1))
    return status


def _count_syncs() -> Counter[str]:
    """Count the warnings of torch's mode for finding synchronisations, by the line of Python that caused them."""
    import torch

    found: Counter[str] = Counter()
    usual = warnings._showwarnmsg  # type: ignore[attr-defined]  # what C code calls, whatever `showwarning` is

    def show(message: Any) -> None:
        if _SYNC in str(message.message):
            found[f"{_short(message.filename)}:{message.lineno}"] += 1
        else:
            usual(message)

    warnings._showwarnmsg = show  # type: ignore[attr-defined]
    warnings.filterwarnings("always", f".*{_SYNC}.*")
    torch.set_warn_always(True)
    torch.cuda.set_sync_debug_mode("warn")
    return found


def _short(path: str) -> str:
    """Return the last parts of a file's path."""
    return "/".join(Path(path).parts[-3:])


if __name__ == "__main__":
    sys.exit(main())
