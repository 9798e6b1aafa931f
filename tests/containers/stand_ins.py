"""Stand-ins for the bases of the trainer images, whose registries the tests can't reach.

They have Debian's Python and, for the bases that include a framework, PyTorch or TensorFlow from pip, in the release
that their tags name. So the oldest supported torch is tested, and the newest too, since `piped-pyt` installs its own.
A stand-in can't show NVIDIA's builds, the CUDA of a base, or a GPU.
"""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.containers.engines import Engine, need, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON = "localhost/stand-in-python:latest"
PYTORCH = "localhost/stand-in-pytorch:latest"
NVIDIA = "localhost/stand-in-nvidia:latest"
TENSORFLOW = "localhost/stand-in-tensorflow:latest"
LABEL = "datapack.stand-in=true"
BASES = {"nv-pyt": NVIDIA, "pyt": PYTORCH, "piped-pyt": PYTHON, "tf": TENSORFLOW}
BUILD_TIMEOUT = 900  # seconds: PyTorch with CUDA is over 5 GB

_DEBIAN = ("python3-pip", "python-is-python3")
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTORCH = f"""
FROM {PYTHON}
RUN python -m pip install --no-cache-dir --break-system-packages \
    torch==2.8.0 torchvision==0.23.0 numpy==2.2.6 pillow==11.3.0 typing-extensions==4.14.1
WORKDIR /workspace
"""
# NVIDIA's images constrain pip to the packages that they include, and start with their own script.
_NVIDIA = f"""
FROM {PYTORCH}
RUN mkdir /etc/pip && python -m pip freeze > /etc/pip/constraint.txt
ENV PIP_CONSTRAINT=/etc/pip/constraint.txt
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh"]
"""
# TensorFlow's image is as old as its release, and so are the packages that came with it.
_TENSORFLOW = f"""
FROM {PYTHON}
RUN python -m pip install --no-cache-dir --break-system-packages \
    tensorflow==2.21.0 keras==3.13.2 numpy==2.3.5 packaging==26.0 typing-extensions==4.15.0
"""
_BUILT = {PYTORCH: _PYTORCH, NVIDIA: _NVIDIA, TENSORFLOW: _TENSORFLOW}


def make_base(engine: Engine, folder: Path, tag: str) -> None:
    """Make a stand-in, and what it is built on, in an engine's store, unless it is there; they share layers."""
    need("mmdebstrap")
    if engine.run("info", "--format", "{{.Store.GraphDriverName}}").stdout.strip() != "overlay":
        unavailable("only the overlay driver lets images of this size share their layers")
    if engine.run("image", "exists", tag, check=False).returncode == 0:
        return
    if tag == PYTHON:
        _make_python(engine, folder)
        return
    make_base(engine, folder, _BUILT[tag].split()[1])
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(_BUILT[tag])
    (folder / "context").mkdir(exist_ok=True)
    engine.build(dockerfile, folder / "context", tag, options=with_pip(folder), timeout=BUILD_TIMEOUT)


def _make_python(engine: Engine, folder: Path) -> None:
    """Make a minimal Debian with Python and pip."""
    archive = folder / "python.tar"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_DEBIAN)}", "bookworm", archive]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        unavailable(f"Debian's packages can't be downloaded: {done.stdout[-1000:]}")
    engine.run("import", "--change", f"LABEL {LABEL}", "--change", f"ENV PATH={_SEARCH_PATH}", archive, PYTHON)
    archive.unlink()


def with_pip(folder: Path) -> list[str]:
    """Return the flags with which a build's pip finds packages where this machine's pip does: in folders, on a network.

    Intermediate layers are not kept: each would be written once more, and PyTorch with CUDA is over 5 GB.
    """
    settings = _pip_settings()
    parser = configparser.RawConfigParser()
    parser.read_dict({"global": settings})
    with (folder / "pip.conf").open("w") as file:
        parser.write(file)
    mounts = {folder / "pip.conf": Path("/etc/pip.conf"), **{path: path for path in _named_in(settings)}}
    volumes = [part for here, there in mounts.items() for part in ("--volume", f"{here}:{there}:ro")]
    return ["--layers=false", "--network", "host", *volumes]


def _pip_settings() -> dict[str, str]:
    """Return pip's settings from its files and variables; variables come after files, as for pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    settings = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        place, _, value = line.partition("=")
        section, _, key = place.rpartition(".")
        if section in {"global", "install", ":env:"}:
            settings[key] = str(ast.literal_eval(value))
    return settings


def _named_in(settings: dict[str, str]) -> Iterator[Path]:
    """Return the files and folders of this machine that pip's settings name."""
    for word in sorted({word for value in settings.values() for word in value.split()}):
        path = Path(word.removeprefix("file://"))
        path = path.parent if word.startswith("file://") else path  # an index links to the files beside it
        if path.is_absolute() and path.exists():
            yield path
