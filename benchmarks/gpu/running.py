"""Run the trainers as a job does: one process, a configuration, folders for results and for decoded images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
#: The environment of every process that is started here.
PROJECT = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}

_POLL = 0.01  # seconds


@dataclass(frozen=True)
class Ended:
    """How a job ended, and what it left."""

    status: int
    output: list[str]  # lines
    seconds: float
    rows: list[dict[str, Any]]  # of metrics.jsonl
    times: list[float]  # when each was first seen, on time.monotonic's clock
    report: dict[str, Any]  # of `benchmarks.gpu.watched`
    folder: Path  # of the run

    @property
    def last(self) -> str:
        """The last line, which says how the job ended."""
        return self.output[-1] if self.output else "no output"

    def demand(self, status: int = 0) -> Ended:
        """Return this; raise if the job ended otherwise."""
        if self.status != status:
            print("\n".join(self.output[-40:]), flush=True)
            raise RuntimeError(f"exit status {self.status} and not {status}: {self.last}")
        return self


@dataclass(frozen=True)
class Desk:
    """A folder that holds the configurations, the results and the decoded images of some jobs."""

    root: Path

    def run(
        self,
        command: str,
        settings: Mapping[str, Any],
        *,
        watch: Sequence[str] = (),
        stop_after: int | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 600,
    ) -> Ended:
        """Run a command of the trainers to its end.

        Args:
            command: ``train``, ``evaluate`` or ``predict``.
            settings: of train.yml.
            watch: options of `benchmarks.gpu.watched`.
            stop_after: send SIGTERM once this number of epochs is in metrics.jsonl.
            env: more of the environment.
            timeout: seconds after which the job is killed, and `TimeoutError` raised.
        """
        name = str(settings["run"])
        config, report, log = (self.root / f"{name}-{command}{end}" for end in (".yml", ".json", ".log"))
        outputs, scratch = self.root / "outputs", self.root / "scratch"
        for folder in (outputs, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        config.write_text(yaml.safe_dump(dict(settings)))
        report.unlink(missing_ok=True)
        arguments = [command, "--config", str(config), "--outputs", str(outputs), "--scratch", str(scratch)]
        program = [sys.executable, "-m", "benchmarks.gpu.watched", str(report), *watch, "--", *arguments]
        began = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(
                program, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **PROJECT, **(env or {})}
            )
            times = _wait(process, outputs / name / "metrics.jsonl", stop_after, began + timeout)
        seconds = time.monotonic() - began
        return Ended(
            status=process.returncode,
            output=log.read_text(errors="replace").splitlines(),
            seconds=seconds,
            rows=_rows(outputs / name / "metrics.jsonl"),
            times=times,
            report=json.loads(report.read_text()) if report.is_file() else {},
            folder=outputs / name,
        )


def _wait(process: subprocess.Popen[bytes], metrics: Path, stop_after: int | None, deadline: float) -> list[float]:
    """Wait for the end of a job; return when each row of metrics.jsonl appeared."""
    times: list[float] = []
    before, waiting = len(_rows(metrics)), stop_after is not None
    try:
        while process.poll() is None:
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError("over its time budget")
            times += [now] * (len(_rows(metrics)) - before - len(times))
            if waiting and len(times) >= (stop_after or 0):
                process.send_signal(signal.SIGTERM)
                waiting = False
            time.sleep(_POLL)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return times


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl; the last one may still be incomplete."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
