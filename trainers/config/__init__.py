"""The configuration of a run: `train.yml`. An unknown key is an error."""

from trainers.config.file import DEFAULT, VARIABLE, find, load
from trainers.config.frameworks import Framework, framework_of
from trainers.config.sections import (
    WITHOUT_EFFECT,
    AugmentationSection,
    Config,
    DataSection,
    EvaluationSection,
    ImageSection,
    ModelSection,
    ReportSection,
    TrainingSection,
)

__all__ = [
    "DEFAULT",
    "VARIABLE",
    "WITHOUT_EFFECT",
    "AugmentationSection",
    "Config",
    "DataSection",
    "EvaluationSection",
    "Framework",
    "ImageSection",
    "ModelSection",
    "ReportSection",
    "TrainingSection",
    "find",
    "framework_of",
    "load",
]
