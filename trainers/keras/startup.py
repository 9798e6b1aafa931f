"""The import of TensorFlow: quiet, and without the user's settings."""

from __future__ import annotations

import os
import sys

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": os.devnull,  # no keras.json: its settings would change results, and a home may be read-only
    "TF_CPP_MIN_LOG_LEVEL": "3",  # nothing: an error that matters is raised, and a missing GPU is reported by us
}
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def import_tensorflow() -> None:
    """Import TensorFlow and Keras, once.

    TensorFlow writes a dozen lines about its libraries to the standard error, whatever its log level: they come before
    its logging is set up. They are shown only if the import fails, or if the environment asks for all messages.
    """
    quiet = os.environ.get(_LEVEL) != "0"  # 0: everything
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    sys.stderr.flush()
    kept, written = os.dup(2), os.memfd_create("stderr")
    try:
        if quiet:
            os.dup2(written, 2)
        import keras
        import tensorflow as tf
    except BaseException:
        os.dup2(kept, 2)
        os.write(2, os.pread(written, 1 << 16, 0))
        raise
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(written)
    tf.get_logger().setLevel("ERROR")
    keras.config.disable_traceback_filtering()  # a traceback in the log has all that is needed for a report
