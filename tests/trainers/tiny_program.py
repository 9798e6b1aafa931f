"""The program with a small detector instead of a ResNet-50; everything else is real.

Environment: TINY_WEIGHTS, a folder where each process saves its final weights; TINY_FAILS, the rank of a process that
runs out of memory in its fourth forward pass.
"""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from trainers.config import Config


def main() -> int:
    from trainers import __main__
    from trainers.pytorch import model

    made: list[nn.Module] = []

    def build(config: Config, _classes: int, **_: object) -> nn.Module:
        from tests.trainers.tiny import tiny_detector

        detector = tiny_detector(config.seed)
        if os.environ.get("TINY_FAILS") == os.environ["RANK"]:
            _fail_later(detector)
        made.append(detector)
        return detector

    model.build_model = build
    status = __main__.main()
    if made and (folder := os.environ.get("TINY_WEIGHTS")):
        import torch

        torch.save(made[0].state_dict(), Path(folder) / f"{os.environ['RANK']}.pt")
    return status


def _fail_later(detector: nn.Module) -> None:
    import torch

    passes = count(1)

    def fail(*_: object) -> None:
        if next(passes) == 4:
            raise torch.OutOfMemoryError

    detector.register_forward_pre_hook(fail)


if __name__ == "__main__":
    sys.exit(main())
