"""Build, scan, push, sign and rehearse an image, one step at a time: what the workflows run through `make`.

    python scripts/image.py build|scan|sbom|push|names|attest|rehearse      in the project's folder

The variables are those under "Images, step by step" in the Makefile.

Each step leaves what the next ones need in ``build/images/NAME``: the archive ``image.tar``, ``image.json`` with its
digest and its name in the registry, ``scan.json``, and ``sbom.cdx.json``. What was scanned is what is pushed: a push
compares digests.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from push_archive import attach_sbom, push_archive

from datapack.automation.visibility import check_visibility
from datapack.catalog.model import Catalog
from datapack.errors import DatapackError, MismatchError, UsageError
from datapack.files import atomic_writer
from datapack.oci.archive import Archive
from datapack.reference import Reference
from datapack.registry import ImageName
from datapack.workspace.folder import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRAINERS = ("nv-pyt", "pyt", "piped-pyt", "tf")
IMAGES = ("data", "model", *TRAINERS)
DATAPACK = (sys.executable, "-m", "datapack")
SCAN = (sys.executable, "scripts/scan.py")
REEF = Reference("reef", "v1")  # what the trainers are rehearsed with
_VERSION = re.compile(r'^ARG [A-Z_]*_VERSION="(.*)"$', re.MULTILINE)
_PATIENCE = 30  # seconds until podman's service must answer


@dataclass(frozen=True)
class Order:
    """Which image is wanted, and where: what the variables of make say."""

    image: str  # one of IMAGES
    reference: str = ""  # name@version of a dataset or a model
    base: str = ""  # of a data image: instead of the catalog's; of a model: the trainer image
    registry: str = ""  # ghcr.io/NAMESPACE
    key: str = ""  # the file of a private key
    engine: str = ""  # podman or docker
    visibility: str = ""  # who can read the repository whose jobs build this: public, internal or private
    insecure: bool = False  # a registry without TLS, for tests

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Order:
        """Read the variables; raise `UsageError` if one is missing or unknown."""
        names = ("base", "registry", "key", "engine", "visibility")
        given = {name: variables.get(name.upper(), "") for name in names}
        order = cls(variables.get("IMAGE", ""), variables.get("REF", ""), **given)
        if order.image not in IMAGES:
            raise UsageError("no such image", where="IMAGE", expected=", ".join(IMAGES), found=repr(order.image))
        if order.of_data:
            Reference.parse(order.reference)
        return replace(order, insecure=variables.get("INSECURE") == "1")

    @property
    def of_data(self) -> bool:
        return self.image not in TRAINERS

    @property
    def name(self) -> str:
        """The image's name in a registry."""
        return f"{self._parsed.name}{'-run' * (self.image == 'model')}" if self.of_data else self.image

    @property
    def tag(self) -> str:
        """The tag: the version of the dataset, or the one in the trainer's Dockerfile."""
        if self.of_data:
            return self._parsed.version
        return version_in(self.dockerfile)

    @property
    def _parsed(self) -> Reference:
        return Reference.parse(self.reference)

    @property
    def base_options(self) -> tuple[str, ...]:
        """What datapack has to know about the base of an image with data."""
        if self.image == "model":
            return "--runnable", self.base
        return ("--base", self.base) if self.base else ()

    @property
    def folder(self) -> Path:
        return Path("build", "images", f"{self.name}-{self.tag}")

    @property
    def archive(self) -> Path:
        return self.folder / "image.tar"

    @property
    def facts(self) -> Path:
        return self.folder / "image.json"

    @property
    def sbom(self) -> Path:
        return self.folder / "sbom.cdx.json"

    @property
    def scanned(self) -> Path:
        """The result of the scan."""
        return self.folder / "scan.json"

    @property
    def dockerfile(self) -> Path:
        return Path("docker", self.image, "Dockerfile")

    @property
    def pushed(self) -> ImageName:
        """The name under which it is pushed."""
        if not self.registry:
            raise UsageError("no registry", where="REGISTRY", expected="such as ghcr.io/your-namespace")
        return ImageName.parse(f"{self.registry.lower()}/{self.name}:{self.tag}")  # an owner on GitHub may be You

    @property
    def with_digest(self) -> ImageName:
        """The name with the digest that was built."""
        return replace(self.pushed, tag="", digest=self.digest)

    @property
    def digest(self) -> str:
        """The digest of the image: of the archive if it is here, or what another machine has noted beside its SBOM."""
        if self.archive.exists():
            return Archive.find(self.archive).image().digest
        if not self.facts.exists():
            raise UsageError(
                "not built yet", where=self.archive, fix=f"run 'make image-build IMAGE={self.image}' first"
            )
        return str(json.loads(self.facts.read_bytes())["digest"])


def version_in(dockerfile: Path) -> str:
    """Return the version of an image: its tag. Each version of an image has one of its own."""
    found = _VERSION.findall(dockerfile.read_text(encoding="utf-8"))
    if len(found) != 1:
        raise UsageError("no version", where=dockerfile, expected='one line ARG NAME_VERSION="..."', found=len(found))
    return str(found[0])


def build(order: Order) -> None:
    """Build the image into an archive, if its data may be in the jobs of this repository at all."""
    order.folder.mkdir(parents=True, exist_ok=True)
    if order.of_data:
        _refuse_if_public(order)
        run(*DATAPACK, "build", order.reference, f"oci-archive:{order.archive}", *order.base_options)
    else:
        _build_trainer(order)
    facts = {"name": order.name, "tag": order.tag, "digest": order.digest}
    with atomic_writer(order.facts) as file:
        file.write(f"{json.dumps(facts, indent=2)}\n".encode())
    print(f"image      {order.digest}")


def _refuse_if_public(order: Order) -> None:
    """Refuse private data where everybody can read the job's log and its artifacts."""
    if order.visibility:
        dataset = Catalog.read(Workspace.find(Path()).catalog).entry(Reference.parse(order.reference)).dataset
        check_visibility(order.visibility, order.reference, dataset)


def _build_trainer(order: Order) -> None:
    """Build a trainer image with the engine, and save it as an OCI archive."""
    if order.image != "tf":
        run(*DATAPACK, "fetch", "resnet50@imagenet1k-v2")
    run("make", "--no-print-directory", "docs")  # the image has them
    run("scripts/images.sh", order.engine, order.image)
    order.archive.unlink(missing_ok=True)
    run(*save_command(order.engine, f"{order.image}:{order.tag}", order.archive))


def save_command(engine: str, image: str, archive: Path) -> tuple[str, ...]:
    """Return the command that saves an image of an engine as an OCI archive."""
    form = ("--format", "oci-archive") if Path(engine).name == "podman" else ()  # docker writes this form anyway
    return engine, "save", *form, "--output", str(archive), image


def scan(order: Order) -> None:
    """Scan the archive; fail if it must not be released. SCAN_DATABASE=no leaves out vulnerabilities, and says so."""
    run(*SCAN, "scan", str(order.archive), str(order.scanned), str(order.dockerfile))


def sbom(order: Order) -> None:
    """Write the SBOM of the archive; of an image with data, the build has written it already."""
    if order.of_data:
        built = order.archive.with_name(f"{order.archive.name}.cdx.json")
        if not built.exists():
            fix = f"run 'make image-build IMAGE={order.image}' first"
            raise UsageError("not built yet", where=built, fix=fix)
        shutil.copyfile(built, order.sbom)
        print(f"SBOM       {order.sbom}")
        return
    run(*SCAN, "sbom", str(order.archive), str(order.sbom))


def push(order: Order) -> None:
    """Push what was built: never over another image's tag, and no private dataset into a public repository."""
    expected = order.digest
    if order.of_data:
        insecure = ["--insecure"] * order.insecure
        target = f"docker://{order.pushed}"
        answer = run(*DATAPACK, "push", order.reference, target, *order.base_options, *insecure, "--json", read=True)
        found = json.loads(answer)["image"]
    else:
        found = push_archive(order.archive, order.pushed, insecure=order.insecure)
    if found != expected:
        raise MismatchError("pushed another image than was scanned", where=order.pushed, expected=expected, found=found)
    print(f"pushed     {order.with_digest}")


def attest(order: Order) -> None:
    """Sign the pushed image with a private key, and attach its SBOM: what `actions/attest` does on GitHub."""
    insecure = ["--insecure"] * order.insecure
    with _key_file(order) as key:
        run(*DATAPACK, "sign", f"docker://{order.with_digest}", "--key", key, *insecure)
    if not order.sbom.exists():
        raise UsageError("no SBOM", where=order.sbom, fix=f"run 'make image-sbom IMAGE={order.image}' first")
    attach_sbom(order.sbom, order.with_digest, insecure=order.insecure)
    print(f"attached   {order.sbom}")


@contextlib.contextmanager
def _key_file(order: Order) -> Iterator[str]:
    """Yield the file of the key. A job has its key in a variable: no command line and no log ever contains it."""
    content = os.environ.pop("SIGNING_KEY", "")
    if order.key or not content:
        if not order.key:
            raise UsageError(
                "no key", where="KEY", expected="the file of a private key, or SIGNING_KEY with its content"
            )
        yield order.key
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key.pem")
        path.touch(mode=0o600)
        path.write_text(f"{content.strip()}\n", encoding="utf-8")
        yield str(path)


def names(order: Order) -> None:
    """Print what later steps of a workflow need to know, a line each."""
    print(f"name={order.pushed.path}\ndigest={order.digest}\nfolder={order.folder}\nsbom={order.sbom}")


def rehearse(order: Order) -> None:
    """Pull what was pushed, by its digest, and run it as the Safe Haven will."""
    name = str(order.with_digest)
    secure = ["--tls-verify=false"] if order.insecure and "podman" in Path(order.engine.split()[0]).name else []
    run(*order.engine.split(), "pull", "--quiet", *secure, name)
    with _service(order.engine), tempfile.TemporaryDirectory(dir=order.folder) as place:
        Path(place).chmod(0o755)
        what = ["--data", _data_of(order, Path(place)), "--outputs", f"{place}/safe_outputs"]
        # Its nameless user needs more user IDs than a rootless engine has.
        strict = ["--strict"] if os.geteuid() == 0 else []
        if order.image == "data":
            what = what[2:]
        run(*DATAPACK, "run", name, *what, *strict)


def _data_of(order: Order, place: Path) -> str:
    """Make the /safe_data of a rehearsal: the example's images for a model; the example as a dataset for a trainer."""
    data = place / "safe_data"
    if order.image == "data":
        return ""
    if order.image == "model":
        shutil.copytree("examples/reef/images", data)
        return str(data)
    run(*DATAPACK, "fetch", str(REEF))
    shutil.copytree(Path("data", REEF.name, REEF.version), data / REEF.name / REEF.version)
    settings = Path("examples", "reef", "train-tf.yml" if order.image == "tf" else "train.yml")
    shutil.copy(settings, data / "train.yml")
    return str(data)


@contextlib.contextmanager
def _service(engine: str) -> Iterator[None]:
    """Serve podman's API where nothing does: `datapack run` speaks to an engine through it."""
    if "DOCKER_HOST" in os.environ or Path(engine.split(maxsplit=1)[0]).name != "podman":
        yield
        return
    with tempfile.TemporaryDirectory(prefix="dp-") as folder:
        socket = Path(folder, "podman.sock")
        service = subprocess.Popen([*engine.split(), "system", "service", "--time", "0", f"unix://{socket}"])
        os.environ["DOCKER_HOST"] = f"unix://{socket}"
        try:
            deadline = time.monotonic() + _PATIENCE
            while not socket.exists() and service.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            yield
        finally:
            del os.environ["DOCKER_HOST"]
            service.terminate()
            service.wait()


def run(*command: str, read: bool = False) -> str:
    """Show and run a command; end this program as it ends if it fails. Return its output if it is to be read."""
    shown = ["datapack", *command[len(DATAPACK) :]] if command[: len(DATAPACK)] == DATAPACK else list(command)
    print("$", *shown, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE if read else None, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


STEPS = {step.__name__: step for step in (build, scan, sbom, push, names, attest, rehearse)}

if __name__ == "__main__":
    try:
        STEPS[sys.argv[1]](Order.read(os.environ))
    except (DatapackError, OSError) as error:
        sys.exit(f"error: {error}")
