"""The sections of `train.yml`: every key with its default and its valid values.

The tables in `docs/reference/configuration.md` are generated from them. Only `dataset` and `digest` have no default.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from trainers.config.frameworks import Model  # noqa: TC001 - pydantic needs it


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("a path below the dataset's data/, without '..'")
    return str(PurePosixPath(path))


def _folder_name(name: str) -> str:
    if name in {".", ".."} or "/" in name or not name.isprintable():
        raise ValueError("a folder name")
    return name


Below = Annotated[str, AfterValidator(_inside)]
FolderName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_folder_name)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(ge=1, le=10_000)]  # pixels
Threads = Annotated[int, Field(ge=1, le=1024)]


#: The keys that may differ between two starts of one run: they do not change its results.
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
    # strict: "yes" is not a boolean and "3" not a number; an int is a float, since YAML has 1 for 1.0
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class DataSection(_Section):
    """The files of the dataset to use, and how to split them."""

    train: Below = "train.json"
    """COCO file of the training images, relative to `data/` of the dataset; the default is its name in Fathom24"""

    images: Below = "images/train"
    """folder of the images in `train`, relative to `data/`; the default is its name in Fathom24"""

    eval: Below | None = "eval.json"
    """COCO file of the images for `predict`, which ignores any boxes in it; `null` if there is none"""

    eval_images: Below = "images/eval"
    """folder of the images in `eval`, relative to `data/`"""

    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """share of the images for validation, stratified by category, in whole sequences; a fifth is enough to evaluate
    categories that are not rare, and leaves most images for training"""

    sequences: Literal["url", "none"] = "url"
    """`url`: images whose `coco_url` is in the same folder are frames of one dive and look alike, so a split within
    them would measure memorization; `none`: split image by image"""

    skip_broken: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """known broken images to leave out, of both COCO files: a `file_name`, or a path as the error shows it. Any other
    broken image stops the run, so that it can't be overlooked"""


class ImageSection(_Section):
    """The images as the model sees them."""

    min_size: Side = 800
    """shorter side, pixels; images are scaled to it unless the longer side would exceed `max_size`. 800 and 1333 are
    the values of torchvision's reference, so results are comparable; half of them need a quarter of the time and of
    `/scratch`"""

    max_size: Side = 1333
    """longest side, pixels"""

    @field_validator("max_size")
    @classmethod
    def _longer(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min_size", value):
            raise ValueError("at least min_size")
        return value

    exif: Literal["auto", "apply", "ignore"] = "auto"
    """EXIF orientation of images that are mirrored, upside down, or square and turned, whose size does not show whether
    their boxes belong to the turned image (`apply`) or to the stored one (`ignore`). `auto`: as the sizes of the other
    images in the COCO file show; if they don't, the run stops. If an image's own size shows it, this setting is not
    used for it"""

    cache: Literal["auto", "off"] = "auto"
    """`auto`: keep decoded images in `/scratch` if they fit, since decoding takes most of the time; `off`: decode them
    again in every epoch"""


class AugmentationSection(_Section):
    """Random changes of the training images."""

    flip: Share = 0.5
    """probability of mirroring an image left to right: nothing in the sea prefers a side"""

    scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.8, 1.25)
    """smallest and largest scale, since animals are near or far; `[1, 1]` turns it off"""

    @field_validator("scale")
    @classmethod
    def _ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] > value[1]:
            raise ValueError("the smallest scale, then the largest")
        return value

    crop: Share = 0.0
    """probability of a random crop that keeps the centre of at least one box; off by default, as it loses small animals
    at the edge"""

    brightness: Share = 0.2
    """largest relative change of brightness: lights differ from dive to dive"""

    contrast: Share = 0.2
    """largest relative change of contrast"""

    saturation: Share = 0.2
    """largest relative change of saturation"""

    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """largest change of hue, in turns of the colour wheel; off by default, since colour distinguishes species, and it
    is slow on a CPU"""


class ModelSection(_Section):
    """The detector."""

    name: Model = "fasterrcnn_resnet50_fpn_v2"
    """a torchvision detector or, if it ends with `_keras`, one of KerasHub, which needs the TensorFlow image; the
    default is the most accurate of torchvision's four on COCO (box mAP 46.7, against 37.0 for
    `fasterrcnn_resnet50_fpn`, according to torchvision)"""

    weights: str = "imagenet"
    """`imagenet`: the ResNet-50 in the container image; `random`: none; or the path of a file with a backbone or a
    detector, `.safetensors` or `.pth`, relative to the folder of this file. ImageNet weights save most of the epochs"""

    trainable_layers: Annotated[int, Field(ge=0, le=5)] = 3
    """number of the backbone's 5 stages to train, counted from the last one; 3 as in torchvision's reference; with
    `random` weights all are trained"""

    detections: Annotated[int, Field(ge=1, le=1000)] = 300
    """maximum number of detections per image; images of Fathom24 have up to 198 boxes"""


class TrainingSection(_Section):
    """The training itself."""

    epochs: Count = 26
    """passes over the training images; 26 as in torchvision's reference"""

    batch_size: Count = 8
    """images per batch and process; if GPU memory runs out, the error says which number to try"""

    accumulate: Count = 1
    """batches per step, for large steps in little memory"""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """`sgd`, with a momentum of 0.9, is what torchvision trained its detectors with; `adamw` is easier with random
    weights"""

    learning_rate: Positive = 0.02
    """learning rate for a step of 16 images; 0.02 as in torchvision's reference for `sgd`. It is scaled in proportion
    to the images of a step (`batch_size` x `accumulate` x processes). `adamw` needs a smaller one"""

    weight_decay: NotNegative = 1e-4
    """weight decay, as in torchvision's reference; norms and biases are excluded"""

    warmup_steps: Annotated[int, Field(ge=0)] = 1000
    """steps during which the learning rate rises from a thousandth (without this, the loss soon becomes infinite or
    NaN); at most a third of all steps"""

    schedule: Literal["cosine", "steps"] = "cosine"
    """how the learning rate falls. `cosine`: to a hundredth at the end; `steps`: to a tenth at each of `milestones`"""

    milestones: Annotated[tuple[Share, ...], Field(strict=False)] = (0.6, 0.85)
    """when the learning rate falls with `steps`, as shares of the training"""

    clip_norm: NotNegative = 10.0
    """maximum norm of the gradient, so that one odd batch does not undo an epoch; 0 turns clipping off"""

    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """decay of a moving average of the weights, such as 0.999. The averaged weights are evaluated and saved; 0 turns it
    off"""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """number type of the forward pass; `auto`: bfloat16 on GPUs that support it, float16 on others, float32 on a CPU"""

    channels_last: bool = True
    """store images and weights in channels-last order, the fastest for convolutions on a CPU and, in half precision, on
    a GPU"""

    compile: bool = False
    """compile the backbone with `torch.compile`; worth it in long runs on a GPU; needs a C compiler in the image"""

    max_hours: Positive | None = None
    """hours after which the training shuts down cleanly, with an evaluation and all outputs; set it below the time
    limit of the service (6 hours on the desktop service)"""


class EvaluationSection(_Section):
    """The evaluation of the detector."""

    every: Count = 1
    """epochs between evaluations; the last epoch always has one"""

    batch_size: Count = 8
    """images per batch; it does not change the results"""

    model: str | None = None
    """`model.safetensors` for `evaluate` and `predict`, relative to the folder of this file; by default the run's
    own"""


class ReportSection(_Section):
    """The content of `report.html`."""

    score: Share = 0.5
    """lowest score of a detection that counts in the confusion matrix and on samples"""

    samples: bool = False
    """`true` puts a few validation images with their boxes into the report; only if governance lets images leave"""


class Config(_Section):
    """The configuration of a run."""

    dataset: str
    """folder of the imported dataset (the one with `manifest-sha256.txt`), relative to the folder of this file"""

    digest: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
    """the dataset digest, as `datapack build` printed it and `datasets.lock` holds it; any other dataset is refused"""

    verify: Literal["full", "quick"] = "full"
    """`full`: check every byte; `quick`: check only names, the total size, and the images that are decoded"""

    run: FolderName | None = None
    """folder of this run in `/safe_outputs`; by default named after the dataset, the model and this configuration"""

    resume: str = "auto"
    """`auto`: resume from the run's own checkpoint, if there is one; `never`: start a new training; or the path
    of a checkpoint, relative to the folder of this file"""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """seed of the split, the weights, the order of the images and their augmentation"""

    device: Literal["cuda", "cpu"] = "cuda"
    """where to train; with `cuda`, a missing GPU is an error, so that a run never uses a CPU by mistake"""

    workers: Threads | None = None
    """reading threads per process; by default one for each core that the job may use, divided among the processes of a
    node"""

    data: DataSection = DataSection()
    image: ImageSection = ImageSection()
    augmentation: AugmentationSection = AugmentationSection()
    model: ModelSection = ModelSection()
    training: TrainingSection = TrainingSection()
    evaluation: EvaluationSection = EvaluationSection()
    report: ReportSection = ReportSection()

    @property
    def run_name(self) -> str:
        """The folder of the run: as configured, or derived from the configuration, so that it finds its run again."""
        dataset = "-".join(PurePosixPath(self.dataset).parts[-2:]).strip("/-.")
        return self.run or f"{dataset}-{self.model.name}-{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that depend on everything that affects the result."""
        kept = self.model_dump_json(exclude=WITHOUT_EFFECT)
        return hashlib.sha256(kept.encode()).hexdigest()[:8]
