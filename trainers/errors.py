"""Errors that stop a run: one line each, in the form of `datapack.errors`."""

from datapack.errors import DatapackError, MismatchError

__all__ = ["ConfigError", "DatapackError", "MismatchError", "StoppedError", "TrainingError"]


class ConfigError(DatapackError):
    """The configuration or the command line is invalid. Exit status 2."""

    exit_code = 2


class TrainingError(DatapackError):
    """The data is intact but the run failed: no disk space, no GPU, no memory, a loss that is not finite."""


class StoppedError(DatapackError):
    """The run was told to stop (SIGTERM, Ctrl-C) and left a checkpoint. Exit status 75: run it again to resume."""

    exit_code = 75
