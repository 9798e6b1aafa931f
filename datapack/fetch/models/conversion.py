"""Converting the weights of a model from a pickle to safetensors, which can't run code."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from datapack.errors import DatapackError, FetchError
from datapack.fetch.models.weights import is_pickle
from datapack.fetch.payload import WantedFile
from datapack.files import FileStat, disk_errors

if TYPE_CHECKING:
    from datapack.fetch.payload import Payload
    from datapack.weights.convert import Conversion

RECORD = "conversion.json"  # its path in the payload
_FORM = 1  # of it; it changes when older readers can no longer read it


def convert_weights(payload: Payload, weights: str, key: str, where: str) -> tuple[str, bytes]:
    """Replace the weights in a payload by their tensors as safetensors, in a process of its own.

    Args:
        payload: has the weights; they leave it.
        weights: their path.
        key: the key of the checkpoint whose tensors are kept; empty for all.
        where: the version, for errors.

    Returns:
        The path of the result, and the content of `RECORD`.

    Raises:
        FetchError: the weights are not a pickle, can't be converted, or loading them would run more than classes need.
    """
    from datapack.weights.convert import ENDING, convert  # here: few need it

    source, target = payload.folder / weights, str(PurePosixPath(weights).with_suffix(ENDING))
    with disk_errors(payload.folder):
        if target == weights or not is_pickle(source):
            fix = "leave 'convert' out"
            raise FetchError(
                "the weights are not a pickle that could be converted", where=f"{where}: {weights}", fix=fix
            )
        file = WantedFile(target, f"the conversion of {weights}")
        payload.claim([file])
        (payload.folder / target).unlink(missing_ok=True)  # of an earlier fetch, perhaps with another key
    try:
        done = convert(source, payload.folder / target, key=key)
    except DatapackError as error:
        raise FetchError(
            "the weights can't be converted",
            where=f"{where}: {weights}",
            expected=error.expected,
            found=f"{error.what}: {error.found}" if error.found is not None else error.what,
            fix=error.fix,
            details=error.details,
        ) from error
    with disk_errors(payload.folder):
        payload.add(file, done.digest.removeprefix("sha256:"), FileStat.of((payload.folder / target).stat()))
    payload.drop([weights])
    return target, _record(done, weights, target, key)


def _record(done: Conversion, weights: str, target: str, key: str) -> bytes:
    """Return what was converted. The same file gives the same bytes."""
    content = {
        "form": _FORM,
        "source": {"path": weights, "digest": done.source_digest, "format": done.format},
        "result": {"path": target, "digest": done.digest, "tensors": done.tensors},
        "key": key or None,
        "classes": list(done.classes),
        "left_out": list(done.left_out),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n"
