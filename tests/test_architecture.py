"""The architecture: which package may import which. The lists below are the layout of the code, from the ground up."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import get_args

import pytest

from tests.conftest import SLOW_FILES

ROOT = Path(__file__).parents[1]
MOST_LEVELS = 10

# Each row may import from the rows above it, and from nothing else of its program.
DATAPACK = (
    "errors text urls executor markdown",
    "progress hashing podman",
    "files reference engine jsonfile",
    "yamlfile",
    "bag web coco weights",
    "oci download workspace",
    "inspect page",
    "catalog registry",
    "fetch image automation",
    "metadata signing",
    "targets verify",
    "build",
    "rehearse report ingress versions doctor",
    "api",
    "cli",
    "__main__",
)
TRAINERS = (
    "errors",
    "log process site",
    "config run",
    "context",
    "dataset",
    "evaluation",
    "report",
    "training",
    "prediction",
    "pytorch keras",
    "commands",
    "__main__",
)
# What the images of the trainers have of datapack.
SHARED = {"text", "errors", "progress", "urls", "executor", "hashing", "files", "jsonfile", "yamlfile", "bag", "page"}
FRAMEWORKS = {
    "torch": "trainers.pytorch",
    "torchvision": "trainers.pytorch",
    "keras": "trainers.keras",
    "keras_hub": "trainers.keras",
    "tensorflow": "trainers.keras",
}


def modules(package: str) -> dict[str, Path]:
    """Return the file of each module of a package."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(path: Path, *, late: bool = True) -> set[str]:
    """Return the modules that a file imports; without ``late`` only those at the start of the module."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in ast.walk(tree) if late else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def room(module: str) -> str:
    """Return the package, or the module beside packages, that a module is in: ``bag`` for ``datapack.bag.listing``."""
    return module.partition(".")[2].partition(".")[0]


def arrows(package: str) -> set[tuple[str, str, str]]:
    """Return each import of one room by another: the importing module, its room, and the room that it imports."""
    ours = modules(package)
    found = {(name, room(name), room(other)) for name, path in ours.items() for other in imports(path) & ours.keys()}
    return {(name, here, there) for name, here, there in found if here and there and here != there}


def levels(package: str) -> dict[str, int]:
    """Return the level of each room: 1 if it imports no other, otherwise one more than the highest that it imports."""
    needs: dict[str, set[str]] = {room(name): set() for name in modules(package) if room(name)}
    for _, here, there in arrows(package):
        needs[here].add(there)
    found: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():  # raises where there is a cycle
        found[name] = 1 + max((found[other] for other in needs[name]), default=0)
    return found


@pytest.mark.parametrize(("package", "rows"), [("datapack", DATAPACK), ("trainers", TRAINERS)])
def test_a_package_imports_only_what_is_above_it_in_the_layout(package, rows):
    """No import goes up, every room has a place in the layout, and there are at most ten levels."""
    place = {name: number for number, row in enumerate(rows) for name in row.split()}
    upward = [f"{name} imports {there}" for name, here, there in arrows(package) if place[there] >= place[here]]
    assert not upward
    found = levels(package)
    for level in range(1, max(found.values()) + 1):
        print(f"{package}, level {level:2}: {' '.join(sorted(name for name in found if found[name] == level))}")
    print(f"{package}: {len(found)} rooms, {len({arrow[1:] for arrow in arrows(package)})} arrows")
    assert max(found.values()) <= MOST_LEVELS


@pytest.mark.parametrize(("package", "rows"), [("datapack", DATAPACK), ("trainers", TRAINERS)])
def test_the_page_about_the_architecture_shows_this_layout(package, rows):
    """The table of each program in the docs has the rows of its layout, in the same order, with the same rooms."""
    _, _, section = (ROOT / "docs/architecture.md").read_text().partition(f"\n## {package}, from the ground up\n")
    table = [line.split(" | ")[0] for line in section.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert [" ".join(re.findall(r"`(\w+)`", cell)) for cell in table] == list(rows)


@pytest.mark.parametrize("package", ["datapack", "trainers"])
def test_no_module_imports_itself_through_others(package):
    """There is no cycle among the modules, including imports for types."""
    ours = modules(package)
    needs = {name: (imports(path) & ours.keys()) - {name, package} for name, path in ours.items()}
    assert set(TopologicalSorter(needs).static_order()) >= needs.keys()  # raises where there is a cycle


def test_the_two_programs_share_only_the_ground_floor():
    """datapack never imports the trainers or a framework; the trainers import only the parts of it in their images."""
    for name, path in modules("datapack").items():
        assert not {other.partition(".")[0] for other in imports(path)} & {"trainers", *FRAMEWORKS}, name
    for name, path in modules("trainers").items():
        shared = {other for other in imports(path) if other.startswith("datapack.")}
        assert {room(other) for other in shared} <= SHARED, name
    for name in SHARED & levels("datapack").keys():
        needed = {there for _, here, there in arrows("datapack") if here == name}
        assert needed <= SHARED, name


def test_each_framework_stays_in_its_package():
    """Only trainers/pytorch imports torch, even late, only trainers/keras TensorFlow; neither imports the other."""
    for name, path in modules("trainers").items():
        found = imports(path)
        for framework, package in FRAMEWORKS.items():
            if not f"{name}.".startswith(f"{package}."):
                bindings = {f"safetensors.{framework}"} & found
                assert not bindings | {other for other in found if f"{other}.".startswith(f"{framework}.")}, name
        rooms = {room(other) for other in found if other.startswith("trainers.")} & {"pytorch", "keras"}
        assert rooms <= {room(name)}, name


def test_every_model_has_a_framework():
    """The name of a model selects the module of its jobs, with the same three functions in each."""
    from trainers.config.frameworks import KERAS, PYTORCH, Model, framework_of

    ours = modules("trainers")
    chosen = {framework_of(name) for name in get_args(Model)}
    assert chosen == {KERAS, PYTORCH}
    for framework in chosen:
        tree = ast.parse(ours[framework.jobs].read_text())
        functions = {node.name: ast.unparse(node.args) for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert functions["train"] == "config: Config, context: RunContext, run: Run, data: PreparedData, start: Start"
        for name in ("evaluate", "predict"):
            assert functions[name] == "config: Config, context: RunContext, data: PreparedData, model: Path"


def test_only_the_command_lines_read_arguments():
    """The library raises and reports; only cli and the trainers' __main__ use argparse, and nothing imports these."""
    doors = {"datapack.cli", "datapack.__main__", "trainers.__main__", "trainers.config.__main__"}
    for name, path in {**modules("datapack"), **modules("trainers")}.items():
        if not any(f"{name}.".startswith(f"{door}.") for door in doors):
            assert not imports(path) & {"argparse", *doors}, name
            assert "sys.argv" not in path.read_text() or name == "datapack.fetch.dvc.tracking", (
                name
            )  # the text of DVC's process


def test_the_data_is_checked_before_a_framework_is_loaded():
    """Nothing that a job uses before its data is verified imports a framework or matplotlib, directly or indirectly.

    What all frameworks share needs none, so it is among these modules.
    """
    early = [name for name in modules("trainers") if room(name) not in {"pytorch", "keras", "report"}]
    code = f"import sys; [__import__(name) for name in {early}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert set(early) <= loaded
    assert not {*FRAMEWORKS, "matplotlib", "pycocotools"} & loaded


def test_no_file_that_is_read_can_run_code():
    """Each torch.load accepts only tensors and plain values, and nothing else unpickles."""
    for name, path in modules("trainers").items():
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) == "torch.load":
                assert {word.arg: ast.unparse(word.value) for word in call.keywords}.get("weights_only") == "True", name
            banned = {"pickle.load", "pickle.loads", "np.load", "numpy.load", "eval", "exec"}
            assert ast.unparse(call.func) not in banned, name


def test_the_bag_needs_only_the_standard_library():
    """The trainer images contain the bag without our dependencies: it must import there."""
    names = [name for name in modules("datapack") if room(name) == "bag"]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); [__import__(name) for name in {names}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names <= {"datapack", "__main__"}
    assert {room(name) for name in loaded if name.startswith("datapack.")} <= SHARED


def test_help_needs_no_heavy_package():
    """`datapack --help` answers without pydantic, DVC, docker, Pillow, requests or urllib3."""
    ask = "import sys, datapack.cli\ntry: datapack.cli.main(['--help'])\nexcept SystemExit: pass\n"
    code = f"{ask}print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "build" in done.stdout
    heavy = {"pydantic", "dvc", "docker", "PIL", "requests", "urllib3", "yaml", "tqdm", "jinja2", "shtab", "kagglehub"}
    assert not heavy & set(done.stderr.split())


def test_every_slow_file_is_there():
    """A file of slow tests that moves stays slow."""
    assert [path for path in SLOW_FILES if not path.is_file()] == []
