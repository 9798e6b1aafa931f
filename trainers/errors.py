"""What stops a run: one line each, in the form of `datapack.errors`."""

from datapack.errors import DatapackError, MismatchError

__all__ = ["ConfigError", "DatapackError", "MismatchError", "StoppedError", "TrainingError"]


class ConfigError(DatapackError):
    """The configuration, or the command line, is not what it can be. Exit status 2."""

    exit_code = 2


class TrainingError(DatapackError):
    """The data is right and the run failed all the same: no room, no GPU, no memory, a loss that is not finite."""


class StoppedError(DatapackError):
    """The run was asked to end (SIGTERM, Ctrl-C) and left a checkpoint. Exit status 75: try again, it goes on."""

    exit_code = 75
