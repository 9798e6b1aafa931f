"""The rules of the container guide, of one image: each is met or not, with what its configuration and files say.

What counts is the image itself, and what the record says of it; not what datapack meant to build.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from datapack.image.config import BASE_DIGEST, BASE_NAME, ENTRYPOINT, LICENCE, VERSION
from datapack.image.kinds import DATASET_VARIABLE, MODEL_VARIABLE, RUNNABLE, TRAINER_ENTRYPOINT
from datapack.image.layers import MOUNTS
from datapack.ingress.guide import EXCEPTION, MODEL_EXCEPTION, ROOT_REASON, RULES, Rule
from datapack.ingress.record import GuideResult, Status
from datapack.text import counted, size
from datapack.verify.layers import find_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from datapack.ingress.image_files import FileFacts
    from datapack.oci.image import StoredImage

Judged = tuple[Status, str]
_WRITABLE = 0o222
_SMALL = 64 << 20  # bytes of a base that is called minimal here
_BASE_SEARCHED = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")


@dataclass(frozen=True)
class Context:
    """What the record says of the image that the image itself does not."""

    where: str  # what the user calls the image
    base_compared: bool = False  # whether its base was compared with the one that it names
    commit: str | None = None  # of the catalog
    changed: bool = False  # whether the catalog has changes that no commit has
    rehearsed: str = ""  # the last line of a rehearsal's receipt
    scanned: bool = False  # whether the record has a scan of this image
    sbom: bool = False


class ImageJudge:
    """Judges one image."""

    def __init__(self, image: StoredImage, files: Mapping[str, FileFacts] | None, context: Context) -> None:
        runtime = image.config.get("config")
        self.image, self.files, self.context = image, files, context
        self.runtime: Mapping[str, Any] = runtime if isinstance(runtime, dict) else {}
        self.environment = dict(line.partition("=")[::2] for line in image.environment)
        parts = find_parts(image, runnable=RUNNABLE in image.annotations)
        self.below = parts.below if parts else None  # how many layers are the base's, if datapack put others on it
        self.steps = [str(step.get("created_by") or "") for step in image.config.get("history") or ()]

    def results(self) -> tuple[GuideResult, ...]:
        """Return the result of each rule, in the guide's order."""
        return tuple(self._result(rule) for rule in RULES)

    def _result(self, rule: Rule) -> GuideResult:
        judge: Callable[[], Judged] = getattr(self, f"_{rule.key.replace(' ', '_')}")
        status, evidence = judge()
        return GuideResult(rule=rule.text, status=status, evidence=evidence, recheck=recheck(rule, self.context.where))

    @property
    def _command(self) -> list[str]:
        parts = [self.runtime.get("Entrypoint"), self.runtime.get("Cmd")]
        return [str(word) for part in parts if isinstance(part, list) for word in part]

    @property
    def _is_import(self) -> bool:
        starts = self.runtime.get("Entrypoint") == ENTRYPOINT
        return starts and DATASET_VARIABLE in self.environment and RUNNABLE not in self.image.annotations

    def _directories(self) -> Judged:
        if self.files is None:
            return "not read", "the files of its layers were not listed"
        absent = [f"/{name}" for name in MOUNTS if getattr(self.files.get(name), "kind", "") != "a folder"]
        inside = [path for path in self.files if path.partition("/")[0] in MOUNTS and "/" in path]
        if absent or inside:
            return "not met", f"no folder {', '.join(absent)}" if absent else f"/{inside[0]} is in the image"
        return "met", "the layers have the three folders, and nothing in them"

    def _recorded(self) -> Judged:
        if not self.context.commit:
            return "not met", "no commit of datasets.yml is known"
        if self.context.changed:
            return "not met", f"datasets.yml has changes since commit {self.context.commit[:12]}"
        return "met", f"datasets.yml is that of commit {self.context.commit[:12]}"

    def _base(self) -> Judged:
        name = self.image.annotations.get(BASE_NAME, "")
        if not name:
            return "not met", "the image names no base in a registry"
        if not self.context.base_compared:
            return "not read", f"the image names {name}; its layers were not compared with that"
        return "met", f"{name}; its layers are the lowest ones of this image, unchanged"

    def _no_data(self) -> Judged:
        dataset = self.environment.get(DATASET_VARIABLE)
        if dataset is None:
            return "not read", "the image names no dataset; whether a file is data, its name does not say"
        return "not met", f"{dataset}: {EXCEPTION if self._is_import else MODEL_EXCEPTION}"

    def _complete(self) -> Judged:
        licence = self.image.labels.get(LICENCE)
        if not licence:
            return "not met", "no label names the licence"
        if self._is_import:
            return "met", f"the import program copies what is in the image; licence {licence}"
        if self.environment.get("HF_HUB_OFFLINE") != "1":
            return "not met", "HF_HUB_OFFLINE is not 1, so a library may try to download"
        return "met", f"HF_HUB_OFFLINE=1; licence {licence}"

    def _user(self) -> Judged:
        user = str(self.runtime.get("User") or "")
        if user.partition(":")[0] in {"", "0", "root"}:
            return "not met", ROOT_REASON
        return "met", f"User is {user}"

    def _pinned(self) -> Judged:
        name, digest = (self.image.annotations.get(key, "") for key in (BASE_NAME, BASE_DIGEST))
        if not digest:
            return "not met", "the image does not say the digest of its base"
        if ":" not in name.rpartition("/")[2] or "." not in name.partition("/")[0]:
            return "not met", f"{name or 'a base without a name'}@{digest} lacks its registry or its tag"
        return "met", f"{name}@{digest}"

    def _grouped(self) -> Judged:
        runs = [step for step in self.steps if "RUN " in step]
        if not runs:
            return "met", "no step of its history is a RUN"
        return "not read", f"{counted(len(runs), 'RUN')} in its history, with those of its base"

    def _copied(self) -> Judged:
        if self.below is not None:
            above = len(self.image.layers) - self.below
            return "met", f"{counted(above, 'layer')} above the base, each written by datapack from listed files"
        added = [step for step in self.steps if step.startswith("ADD ") or " ADD " in step]
        if added:
            return "not read", "ADD is in its history; whether its base has it from there, the history does not say"
        return ("met", "no ADD in its history") if self.steps else ("not read", "the image has no history")

    def _stages(self) -> Judged:
        if self.below is not None:
            return "met", "nothing was built in it: above its base are only the files that it needs"
        return "not read", "an image does not say how many stages it had"

    def _minimal(self) -> Judged:
        if self.below is None:
            return "not read", "an image does not say which layers are its base's"
        total = sum(layer.size for layer in self.image.layers[: self.below])
        what = f"its base has {counted(self.below, 'layer')}, {size(total)}"
        return ("met", what) if total <= _SMALL else ("not met", f"{what}: it needs a training framework")

    def _linted(self) -> Judged:
        what = (
            "no Dockerfile made this image; docker/data/Dockerfile of datapack, which makes the same files, is linted"
        )
        return ("met", what) if self._is_import else ("not read", "an image does not say whether it was linted")

    def _offline(self) -> Judged:
        if self.context.rehearsed:
            return "met", f"'datapack run' rehearsed it without a network: {self.context.rehearsed}"
        return "not read", "no rehearsal of this dataset is known here: 'datapack run' does one"

    def _platform(self) -> Judged:
        found = f"{self.image.config.get('os')}/{self.image.config.get('architecture')}"
        return ("met" if found == "linux/amd64" else "not met"), found

    def _unique_tag(self) -> Judged:
        _, _, tag = self.context.where.rpartition("/")[2].partition(":")
        version = self.image.labels.get(VERSION, "")
        if self.context.where.startswith("docker://") and tag.partition("@")[0] in {"", "latest"}:
            return "not met", f"{self.context.where} has no tag of its own"
        return ("met", f"version {version}") if version else ("not met", "no label names the version")

    def _version(self) -> Judged:
        dataset = self.environment.get(DATASET_VARIABLE)
        if dataset and dataset.partition("@")[2]:
            return "met", f"{DATASET_VARIABLE}={dataset}"
        return "not met", f"no {DATASET_VARIABLE} in its environment"

    def _scanned(self) -> Judged:
        if self.context.scanned and self.context.sbom:
            return "met", "a scan of this image and an SBOM are in this record"
        lacking = [what for what, has in (("scan", self.context.scanned), ("SBOM", self.context.sbom)) if not has]
        return "not met", f"this record has no {' and no '.join(lacking)}"

    def _executables(self) -> Judged:
        if self.files is None:
            return "not read", "the files of its layers were not listed"
        path = self._program()
        facts = self.files.get(path or "")
        if path is None or facts is None:
            return "not read", f"{' '.join(self._command) or 'nothing'} is started, which is no file of its layers"
        what = f"/{path}: mode {facts.mode:04o}, user {facts.uid}"
        return ("met" if facts.uid == 0 and not facts.mode & _WRITABLE else "not met"), what

    def _program(self) -> str | None:
        """Return the path of what is started first; of the trainers, their program."""
        command = self._command
        if command[:3] == TRAINER_ENTRYPOINT:
            return "opt/trainers/trainers/__main__.py"
        if not command:
            return None
        if PurePosixPath(command[0]).is_absolute():
            return command[0].lstrip("/")
        named = (f"{folder}/{command[0]}" for folder in _BASE_SEARCHED)
        return next((path for path in named if path in (self.files or {})), None)

    def _starts(self) -> Judged:
        command = self._command
        return ("met", " ".join(command)) if command else ("not met", "neither Entrypoint nor Cmd")

    def _temporary_files(self) -> Judged:
        if self.environment.get("TMP") == "/scratch":
            return "met", "TMP=/scratch"
        if self._is_import:
            return "met", "TMP is not set, and the import program writes below its destination only"
        return "not met", f"TMP is {self.environment.get('TMP') or 'not set'}"

    def _inputs(self) -> Judged:
        if self._is_import:
            return "met", "the import program reads no input but the image itself"
        if self._command[:3] == TRAINER_ENTRYPOINT:
            what = "the images in /safe_data" if MODEL_VARIABLE in self.environment else "/safe_data/train.yml"
            return "met", f"the trainers read {what}"
        return "not read", "only its program shows it"


def recheck(rule: Rule, where: str) -> str:
    """Return the command that checks a rule of an image again."""
    name = where.removeprefix("docker://")
    return rule.of_image.replace("{image}", shlex.quote(where)).replace("{name}", shlex.quote(name))
