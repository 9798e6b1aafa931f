"""What needs TensorFlow."""

import contextlib

with contextlib.suppress(ImportError):
    import torchvision  # noqa: F401 - imported after TensorFlow, it ends the process with a segmentation fault
