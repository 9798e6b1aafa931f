"""The rules of the container guide, of one Dockerfile: each is met or not, with the line that shows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from datapack.image.layers import MOUNTS
from datapack.ingress.guide import EXCEPTION, MODEL_EXCEPTION, ROOT_REASON, RULES, Rule
from datapack.ingress.record import GuideResult
from datapack.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from datapack.ingress.dockerfile import Dockerfile, Instruction
    from datapack.ingress.image_rules import Judged

_REGISTRIES = ("docker.io/", "ghcr.io/", "nvcr.io/", "quay.io/")
_MINIMAL = re.compile(r"alpine|slim|distroless|scratch|busybox")
_READ_ONLY = re.compile(r"--chmod=0?[45][45][45]\b")
_OF_BASE = "as in its base, a trainer image: see there"
_TRAINERS = '"-m", "trainers"'
# What holds for every image of this repository, and where a reader finds it.
_RECORDED = "in this repository's git history"
_LINTED = ".hadolint.yaml; make lint and CI run Hadolint, which finds nothing"
_OFFLINE = "tests/containers/: every container of the tests and of datapack run starts without a network"
_SCANNED = "make scan and .github/workflows/image.yml: an SBOM and a scan before each push"


class DockerfileJudge:
    """Judges one Dockerfile."""

    def __init__(self, file: Dockerfile) -> None:
        self.file, self.last = file, file.last

    def results(self) -> tuple[GuideResult, ...]:
        """Return the result of each rule, in the guide's order."""
        return tuple(self._result(rule) for rule in RULES)

    def _result(self, rule: Rule) -> GuideResult:
        judge: Callable[[], Judged] = getattr(self, f"_{rule.key.replace(' ', '_')}")
        status, evidence = judge()
        built = self.file.path.split("/")[-2]
        command = rule.of_file.replace("{file}", self.file.path).replace("{built}", built)
        return GuideResult(rule=rule.text, status=status, evidence=evidence, recheck=command)

    def _find(self, word: str, pattern: str) -> Instruction | None:
        """Return the first instruction of the last stage with a pattern in it."""
        return next((one for one in self.last.all(word) if re.search(pattern, one.text)), None)

    def _shown(self, word: str, pattern: str, absent: str) -> Judged:
        """Judge by an instruction that must be there."""
        found = self._find(word, pattern)
        if found:
            return "met", self.file.at(found.line)
        return ("not read", _OF_BASE) if self._is_model else ("not met", absent)

    @property
    def _is_model(self) -> bool:
        """Whether it is a ready-to-run model: its base is given when it is built."""
        return not self.last.base

    @property
    def _is_import(self) -> bool:
        return self._find("ENTRYPOINT", "/usr/local/bin/import") is not None

    def _directories(self) -> Judged:
        names = " ".join(f"/{name}" for name in MOUNTS)
        inside = self._find("COPY", rf" /(?:{'|'.join(MOUNTS)})(?:/|$)")
        if inside:
            return "not met", f"{self.file.at(inside.line)} copies files into them"
        return self._shown("RUN", rf"mkdir (?:-m 0?755 )?{names}$", f"no RUN mkdir {names}")

    def _recorded(self) -> Judged:
        return "met", _RECORDED

    def _base(self) -> Judged:
        if self._is_model:
            return "not read", f"{self.file.at(self.last.line)}: BASE, a trainer image, is chosen when it is built"
        known = self.last.base.startswith(_REGISTRIES)
        return ("met" if known else "not met"), f"{self.file.at(self.last.line)}: {self.last.base.partition('@')[0]}"

    def _no_data(self) -> Judged:
        copied = [one for stage in self.file.stages for one in stage.all("COPY") if one.text.startswith("data/")]
        copied += [one for one in self.last.all("COPY") if re.search(r" data/", one.text)]
        if not copied:
            return "met", "only programs and their packages are copied"
        reason = EXCEPTION if self._is_import else MODEL_EXCEPTION
        return "not met", f"{self.file.at(copied[0].line)}: {reason}"

    def _complete(self) -> Judged:
        label = self._find("LABEL", r"image\.licenses=")
        if label is None:
            return "not met", "no label names the licence"
        if self._is_import:
            return "met", f"{self.file.at(label.line)}; the import program only copies"
        offline = self._find("ENV", r"HF_HUB_OFFLINE=1")
        if offline:
            return "met", f"{self.file.at(offline.line)} and {self.file.at(label.line)}"
        return ("not read", _OF_BASE) if self._is_model else ("not met", "HF_HUB_OFFLINE is not 1")

    def _user(self) -> Judged:
        user = self.last.all("USER")
        if user and user[-1].text.partition(":")[0] not in {"0", "root"}:
            return "met", self.file.at(user[-1].line)
        return "not met", ROOT_REASON

    def _pinned(self) -> Judged:
        if self._is_model:
            return "not read", "BASE is given as NAME@sha256:..., which datapack build --runnable requires"
        loose = [stage for stage in self.file.stages if "@sha256:" not in stage.base]
        if loose:
            what = f"{self.file.at(loose[0].line)}: {loose[0].base} has no digest"
            return "not met", f"{what}; make pin writes it, and make images refuses to build without one"
        return "met", f"{self.file.at(self.last.line)}: {self.last.base}"

    def _grouped(self) -> Judged:
        pairs = [
            (one, after)
            for stage in self.file.stages
            for one, after in zip(stage.instructions, stage.instructions[1:], strict=False)
            if one.word == after.word == "RUN"
        ]
        if pairs:
            return "not met", f"{self.file.at(pairs[0][1].line)} follows another RUN"
        runs = sum(len(stage.all("RUN")) for stage in self.file.stages)
        return "met", f"{counted(runs, 'RUN')}, none directly after another"

    def _copied(self) -> Judged:
        added = [one for stage in self.file.stages for one in stage.all("ADD")]
        return ("not met", self.file.at(added[0].line)) if added else ("met", "no ADD")

    def _stages(self) -> Judged:
        if len(self.file.stages) == 1:
            return "met", "one stage: nothing is compiled, and what is installed is what runs"
        return "met", f"{len(self.file.stages)} stages: {', '.join(self.file.at(one.line) for one in self.file.stages)}"

    def _minimal(self) -> Judged:
        if self._is_model:
            return "not met", "its base is a trainer image: a model needs the framework that runs it"
        if _MINIMAL.search(self.last.base):
            return "met", f"{self.file.at(self.last.line)}: {self.last.base.partition('@')[0]}"
        return "not met", f"{self.last.base.partition('@')[0]} has the framework that the trainers need"

    def _linted(self) -> Judged:
        return "met", _LINTED

    def _offline(self) -> Judged:
        return "met", _OFFLINE

    def _platform(self) -> Judged:
        if self._is_model:
            return "not read", _OF_BASE
        where = "datapack/image/base.py takes the base for linux/amd64 only" if self._is_import else "scripts/images.sh"
        return "met", where

    def _unique_tag(self) -> Judged:
        return self._version()

    def _version(self) -> Judged:
        named = [one for one in self.file.arguments if re.match(r"[A-Z_]+_VERSION=", one.text)]
        named += [one for one in self.last.all("ARG") if re.match(r"[A-Z_]+_VERSION=", one.text)]
        return (
            ("met", f"{self.file.at(named[0].line)}: {named[0].text}") if named else ("not met", "no ARG ..._VERSION")
        )

    def _scanned(self) -> Judged:
        return "met", _SCANNED

    def _executables(self) -> Judged:
        copies = [one for one in self.last.all("COPY") if not one.text.startswith("--from=")]
        loose = [one for one in copies if not _READ_ONLY.search(one.text) or "--chown" in one.text]
        if loose:
            return "not met", f"{self.file.at(loose[0].line)}: {loose[0].text}"
        return (
            "met",
            f"{counted(len(copies), 'COPY', 'COPYs')} from the repository, each --chmod=444 or 555, owned by root",
        )

    def _starts(self) -> Judged:
        found = [*self.last.all("ENTRYPOINT"), *self.last.all("CMD")]
        if not found:
            return "not met", "neither ENTRYPOINT nor CMD"
        return "met", "; ".join(f"{self.file.at(one.line)}: {one.word} {one.text}" for one in found)

    def _temporary_files(self) -> Judged:
        if self._is_import:
            return "met", "TMP is not set: the import program writes below its destination only"
        return self._shown("ENV", r"\bTMP=/scratch", "TMP is not /scratch")

    def _inputs(self) -> Judged:
        if self._is_import:
            return "met", "the import program reads no input but the image itself"
        if self._is_model:
            return "met", "it reads the images in /safe_data, whatever their names"
        return self._shown("ENTRYPOINT", re.escape(_TRAINERS), "only its program shows it")
