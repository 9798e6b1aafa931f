"""``make gpu``: what only a machine with a GPU can show of the trainers, as one table, in six minutes.

python -m benchmarks.gpu [PART ...] [--minutes N]

Each part is a process of its own with a time budget; one that fails or takes too long keeps the rows that it has, and
the others run all the same. It needs the trainers and their packages, pycocotools, and this folder; no network. Without
a GPU it runs on the CPU with little work, which shows only that it works. The table is printed and, with the numbers
behind it as JSON and the output of each part, written to $OUT or build/gpu.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu.device import describe, has_gpu
from benchmarks.gpu.rows import Row, markdown
from benchmarks.gpu.running import PROJECT

#: The parts, with their share of the time. What one leaves, the next ones may use.
PARTS = {"messages": 0.12, "jobs": 0.2, "detectors": 0.18, "speed": 0.5}
_GRACE = 5  # seconds that a part has to end by itself


def main() -> None:
    """Run the parts; exit with status 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="the parts to run (default: all)")
    parser.add_argument("--minutes", type=float, help="for all of them (default: 6, or 20 without a GPU)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # and with it what it has started
    began, chosen = time.monotonic(), options.parts or list(PARTS)
    seconds = 60 * (options.minutes or (6 if has_gpu() else 20))
    out = Path(os.environ.get("OUT") or "build/gpu")
    out.mkdir(parents=True, exist_ok=True)
    title = describe()
    print(title, flush=True)
    found: dict[str, list[Row]] = {}
    for place, part in enumerate(chosen):
        left = began + seconds - time.monotonic()
        share = PARTS[part] / sum(PARTS[name] for name in chosen[place:])
        found[part] = run_part(part, f"benchmarks.gpu.{part}", left * share, out / f"{part}.log")
        _write(out, title, found)
    print(f"\n{markdown(title, found)}\n{time.monotonic() - began:.0f} s")
    sys.exit(any(row.state == "failed" for rows in found.values() for row in rows))


def run_part(part: str, module: str, budget: float, log: Path) -> list[Row]:
    """Run a part for at most ``budget`` seconds; return its rows, and one more if it failed or took too long."""
    began, late = time.monotonic(), False
    program = [sys.executable, "-m", module, *([str(budget - _GRACE)] if part == "speed" else [])]
    with TemporaryDirectory(prefix="datapack-gpu-", ignore_cleanup_errors=True) as folder, log.open("w") as file:
        env = {**os.environ, **PROJECT, "PYTHONUNBUFFERED": "1", "TMPDIR": folder}
        process = subprocess.Popen(program, stdout=file, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        try:
            process.wait(budget)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            _end_session(process)
    lines = log.read_text(errors="replace").splitlines()
    rows = [row for row in map(Row.parse, lines) if row]
    if late:
        rows.append(
            Row(f"all of {part}", f"stopped after its {budget:.0f} s: what is missing was not measured", "failed")
        )
    elif process.returncode:
        rows.append(Row(f"all of {part}", f"ended with status {process.returncode}: {lines[-1:] or ''}", "failed"))
    print(f"{part}: {len(rows)} rows, {time.monotonic() - began:.0f} s", flush=True)
    return rows


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End what a part has started and not ended."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        return
    process.wait()


def _write(out: Path, title: str, found: dict[str, list[Row]]) -> None:
    """Write the table and the numbers so far."""
    (out / "gpu.md").write_text(markdown(title, found))
    content = {"device": title, "parts": {part: [asdict(row) for row in rows] for part, rows in found.items()}}
    (out / "gpu.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
