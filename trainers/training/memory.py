"""What to do when memory runs out."""

from trainers.errors import TrainingError


def out_of_memory(key: str, batch_size: int) -> TrainingError:
    """Return the error for a lack of memory, of the GPU or of the machine, that says which batch size to try.

    Args:
        key: the key of the configuration, such as ``training.batch_size``.
        batch_size: its value.
    """
    fix = f"set {key} to {batch_size // 2}" if batch_size > 1 else "lower image.min_size and image.max_size"
    return TrainingError("out of memory", found=f"{key} {batch_size}", fix=f"{fix} and start again")
