"""The sections of `train.yml`: every key with its default, and what it can be.

The table in `docs/training.md` is made of them. Only `dataset` and `digest` have no default.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Model = Literal[
    "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn"
]


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("a path below the dataset's data/, without '..'")
    return str(PurePosixPath(path))


def _folder_name(name: str) -> str:
    if name in {".", ".."} or "/" in name or not name.isprintable():
        raise ValueError("the name of one folder")
    return name


Below = Annotated[str, AfterValidator(_inside)]
FolderName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_folder_name)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


#: What may differ between two starts of one run: the numbers that it gives do not change.
WITHOUT_EFFECT: dict[str, bool | set[str]] = {
    "run": True,
    "resume": True,
    "workers": True,
    "verify": True,
    "report": True,
    "evaluation": {"batch_size", "model"},
    "training": {"max_hours"},
    "image": {"cache"},
    "data": {"eval", "eval_images"},
}


class _Section(BaseModel):
    # strict: "yes" is no boolean and "3" no number; an int passes for a float, as YAML writes 1 for 1.0
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class DataSection(_Section):
    """Which files of the dataset are used, and how."""

    train: Below = "train.json"
    """COCO file with the images and boxes to train on, below `data/` of the dataset; this is its name in Fathom24"""

    images: Below = "images/train"
    """folder of the images that `train` names, below `data/`; this is its name in Fathom24"""

    eval: Below | None = "eval.json"
    """COCO file with the images that `predict` looks at; boxes in it are not read. `null` where there is none"""

    eval_images: Below = "images/eval"
    """folder of the images that `eval` names"""

    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """share of the images that is kept for validation, stratified by category, whole sequences on one side; a
    fifth judges the categories that are not rare and leaves the rest to learn from"""

    sequences: Literal["url", "none"] = "url"
    """`url`: images whose `coco_url` lies in one folder are frames of one dive and look alike, so that a split
    through them would judge memory; `none`: each image stands alone"""

    skip_broken: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """file names of images that are known to be broken and are left out; any other broken image stops the run,
    as nobody should learn of it from a result"""


class ImageSection(_Section):
    """The size of the images that the model sees."""

    min_size: Count = 800
    """shorter side, pixels; an image is scaled to it unless its longer side would be over `max_size`. 800 and 1333
    are those of torchvision's reference, so that results compare; half of them take a quarter of the time and of
    `/scratch`"""

    max_size: Count = 1333
    """longest side, pixels"""

    @field_validator("max_size")
    @classmethod
    def _longer(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min_size", value):
            raise ValueError("at least min_size")
        return value

    cache: Literal["auto", "off"] = "auto"
    """`auto`: decoded images are kept in `/scratch` if they fit, as decoding is what takes the time; `off`: each
    is decoded anew in every epoch"""


class AugmentationSection(_Section):
    """What is varied about the images in training, at random."""

    flip: Share = 0.5
    """probability of a mirror image, left for right: the sea has no left"""

    scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.8, 1.25)
    """smallest and largest factor of the size, as animals are near or far; `[1, 1]`: none"""

    @field_validator("scale")
    @classmethod
    def _ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the smallest factor, then the largest")
        return value

    crop: Share = 0.0
    """probability of a random part of the image that keeps at least one box's centre; off, as small animals at the
    edge are lost"""

    brightness: Share = 0.2
    """largest relative change of brightness: lamps differ from dive to dive"""

    contrast: Share = 0.2
    """largest relative change of contrast"""

    saturation: Share = 0.2
    """largest relative change of saturation"""

    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """largest change of hue, in turns of the colour wheel; off, as colour tells species apart and it is slow on a
    CPU"""


class ModelSection(_Section):
    """The detector."""

    name: Model = "fasterrcnn_resnet50_fpn_v2"
    """one of torchvision's detectors; this one is the most accurate of the four on COCO (box mAP 46.7 against 37.0
    of `fasterrcnn_resnet50_fpn`, says torchvision)"""

    weights: str = "imagenet"
    """`imagenet`: the ResNet-50 that is in the image; `random`: none; or the path of a file with a backbone or a
    whole detector, relative to the folder of this file. Weights of ImageNet save most of the epochs"""

    trainable_layers: Annotated[int, Field(ge=0, le=5)] = 3
    """how many of the backbone's 5 stages are trained, counted from the last; 3 as in torchvision's reference, with
    `random` weights all are"""

    detections: Annotated[int, Field(ge=1, le=1000)] = 300
    """most detections an image; an image of Fathom24 can have 198 boxes"""


class TrainingSection(_Section):
    """How the weights are fitted."""

    epochs: Count = 26
    """passes over the training images; 26 as in torchvision's reference"""

    batch_size: Count = 8
    """images that one process takes at once; if the GPU has no memory for it, the error says which number to try"""

    accumulate: Count = 1
    """batches whose gradients are added before a step, for a step of many images in little memory"""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """`sgd`, with a momentum of 0.9, is what the detectors were made with; `adamw` is easier to start from random
    weights"""

    learning_rate: Positive = 0.02
    """for a step of 16 images, 0.02 as in torchvision's reference for `sgd`; scaled in proportion to the images
    of a step (batch x accumulate x processes). `adamw` wants a smaller one"""

    weight_decay: NotNegative = 1e-4
    """of weights, as in torchvision's reference; norms and biases have none"""

    warmup_steps: Annotated[int, Field(ge=0)] = 1000
    """steps in which the learning rate rises from a thousandth, or the loss is not finite soon; at most a third of
    all steps"""

    schedule: Literal["cosine", "steps"] = "cosine"
    """`cosine`: down to a hundredth at the end; `steps`: a tenth at each of `milestones`"""

    milestones: Annotated[tuple[Share, ...], Field(strict=False)] = (0.6, 0.85)
    """where `steps` go down, as shares of the training"""

    clip_norm: NotNegative = 10.0
    """largest norm of the gradient: one odd batch does not undo an epoch; 0: not clipped"""

    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of a moving average of the weights, which is then what is evaluated and kept, such as 0.999; 0: none"""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """of the forward pass; `auto`: bfloat16 on a GPU that has it, float16 on another, float32 on a CPU"""

    channels_last: bool = True
    """the order in memory that convolutions are fastest in, on a GPU with half precision and on a CPU"""

    compile: bool = False
    """`torch.compile` of the backbone: pays in long runs on a GPU; the image needs a C compiler"""

    max_hours: Positive | None = None
    """hours after which the training is ended in good order, with an evaluation and all outputs: set it under the
    time limit of the service (6 hours on the desktop service)"""


class EvaluationSection(_Section):
    """How the detector is judged."""

    every: Count = 1
    """epochs between two evaluations; the last epoch has one in any case"""

    batch_size: Count = 8
    """images at once; it changes no result"""

    model: str | None = None
    """`model.pt` that `evaluate` and `predict` take, relative to the folder of this file; without it the run's own"""


class ReportSection(_Section):
    """What `report.html` shows."""

    score: Share = 0.5
    """score from which a detection counts in the confusion matrix and on samples"""

    samples: bool = False
    """`true` puts a few validation images with their boxes into the report: only where governance lets images
    out"""


class Config(_Section):
    """A run."""

    dataset: str
    """folder of the dataset as it was imported (the one with `manifest-sha256.txt`), relative to the folder of this
    file"""

    digest: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
    """the dataset digest that `datapack build` printed and `datasets.lock` holds; anything else is refused"""

    verify: Literal["full", "quick"] = "full"
    """`full`: every byte is held against the digest; `quick`: names and the total size only"""

    run: FolderName | None = None
    """folder of this run in `/safe_outputs`; without it one is made of the dataset, the model and this configuration"""

    resume: str = "auto"
    """`auto`: go on from the run's own `checkpoint.pt` where there is one; `never`: a new run; or the path of a
    checkpoint, relative to the folder of this file"""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """of the split, the weights, the order of images and their variation"""

    device: Literal["cuda", "cpu"] = "cuda"
    """a GPU that is not there is an error: nobody waits six hours for a CPU by mistake"""

    workers: Annotated[int, Field(ge=1)] | None = None
    """threads that read images, a process; without it one for each core that the job may use, shared among the
    processes of a node"""

    data: DataSection = DataSection()
    image: ImageSection = ImageSection()
    augmentation: AugmentationSection = AugmentationSection()
    model: ModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    evaluation: EvaluationSection = EvaluationSection()
    report: ReportSection = ReportSection()

    @property
    def run_name(self) -> str:
        """The folder of the run: as asked for, or the same for the same configuration, so that a run finds itself."""
        dataset = "-".join(PurePosixPath(self.dataset).parts[-2:]).strip("/-.")
        return self.run or f"{dataset}-{self.model.name}-{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that differ where the result of the training would."""
        kept = self.model_dump_json(exclude=WITHOUT_EFFECT)
        return hashlib.sha256(kept.encode()).hexdigest()[:8]
