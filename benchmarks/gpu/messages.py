"""What a job says if the GPU's memory runs out, and if there is no GPU: one line that says what to do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.bags import REEF, reef_bag
from benchmarks.gpu.device import has_gpu
from benchmarks.gpu.rows import NO_GPU, Row, reported
from benchmarks.gpu.running import Desk
from datapack.bag.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.gpu.running import Ended

_LITTLE, _NONE = 3 << 30, 64 << 20  # bytes that are left: far too few for a batch of 32, and for a model


def main() -> None:
    """Provoke them."""
    with TemporaryDirectory(prefix="datapack-gpu-") as folder:
        bag = reef_bag(Path(folder) / "reef" / "v1")
        settings: dict[str, Any] = yaml.safe_load((REEF / "train.yml").read_text())
        settings |= {"dataset": str(bag), "digest": Manifest.read(bag).digest, "device": "cuda"}
        desk = Desk(Path(folder))
        with reported("device: cuda without a GPU"):
            job = desk.run("train", settings | {"run": "none"}, env={"CUDA_VISIBLE_DEVICES": ""})
            _show("device: cuda without a GPU", job, "there is no GPU", "set device to cpu")
        if not has_gpu():
            Row("a batch that the GPU has no room for", NO_GPU, "not measured").emit()
            Row("a GPU without room for the model", NO_GPU, "not measured").emit()
            return
        with reported("a GPU without room for the model"), _little_memory(_NONE):
            job = desk.run("train", settings | {"run": "none"})
            _show("a GPU without room for the model", job, "", "end what else uses this GPU")
        with reported("a batch that the GPU has no room for"), _little_memory(_LITTLE):
            settings["image"] = {"min_size": 800, "max_size": 1333}
            settings["training"] |= {"batch_size": 32, "epochs": 1}
            job = desk.run("train", settings | {"run": "large"})
            _show("a batch that the GPU has no room for", job, "out of memory", "set training.batch_size to 16")


@contextlib.contextmanager
def _little_memory(left: int) -> Iterator[None]:
    """Leave only ``left`` bytes of the GPU's memory free, however much the card has."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, free - left), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()


def _show(what: str, job: Ended, problem: str, advice: str) -> None:
    """Emit the row of a failure: exit status 1, and one last line with the problem and the advice."""
    whole = "\n".join(job.output)
    passed = job.status == 1 and job.last.startswith("TRAINING FAILED:") and problem in job.last and advice in job.last
    Row.check(what, job.last, passed and "Traceback" not in whole, output=job.output[-20:]).emit()


if __name__ == "__main__":
    main()
