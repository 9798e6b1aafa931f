"""The arrows between the parts: who may import whom."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "datapack").rglob("*.py"))
TRAINERS = sorted((ROOT / "trainers").rglob("*.py"))
SHARED = {
    "datapack",
    "datapack.manifest",
    "datapack.errors",
    "datapack.report",
}  # what the images of the trainers have of datapack

# What a run needs until its data is known to be right.
BEFORE_TORCH = (
    "__main__",
    "commands",
    "config",
    "context",
    "dataset.coco",
    "dataset.images",
    "dataset.pixels",
    "dataset.prepare",
    "dataset.split",
    "dataset.verify",
    "errors",
    "log",
    "process",
    "run.folder",
    "run.inputs",
    "run.record",
)


def imports(path: Path) -> set[str]:
    """The modules that a file imports, also where it does so late or only for types."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_datapack_knows_nothing_of_training(path):
    """datapack never imports the trainers or torch."""
    assert not {name.partition(".")[0] for name in imports(path)} & {"trainers", "torch", "torchvision"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints_and_reads_arguments(path):
    """The library raises and reports; only cli prints, and nothing imports cli but the two ways to start it."""
    if path.parent.name == "cli" or path.name == "__main__.py":
        return
    assert "datapack.cli" not in imports(path)
    assert "argparse" not in imports(path)


@pytest.mark.parametrize("path", TRAINERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_trainers_know_little_of_datapack(path):
    """The trainers take the manifest, the errors and the reports from datapack, and nothing else is in their images."""
    needed = {name for name in imports(path) if name.partition(".")[0] == "datapack"}
    assert {".".join(name.split(".")[:2]) for name in needed} <= SHARED


@pytest.mark.parametrize("path", TRAINERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_program_of_the_trainers_reads_arguments(path):
    """Only __main__ reads the command line, and nothing imports it."""
    if path.name != "__main__.py":
        assert not imports(path) & {"argparse", "sys.argv", "trainers.__main__"}
        assert "sys.argv" not in path.read_text()


@pytest.mark.parametrize("module", BEFORE_TORCH)
def test_the_data_is_checked_before_torch_is_loaded(module):
    """What comes before the training imports no torch, neither itself nor through others."""
    code = f"import sys, trainers.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"trainers.{module}" in done.stdout.split()
    assert not {"torch", "torchvision", "matplotlib"} & set(done.stdout.split())


@pytest.mark.parametrize("path", TRAINERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_that_is_read_can_run_code(path):
    """Each torch.load takes tensors and plain values alone, and nothing else unpickles."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        if ast.unparse(call.func) == "torch.load":
            assert {word.arg: ast.unparse(word.value) for word in call.keywords}.get("weights_only") == "True"
        assert ast.unparse(call.func) not in {"pickle.load", "pickle.loads", "np.load", "numpy.load", "eval", "exec"}


@pytest.mark.parametrize("modules", [MODULES, TRAINERS], ids=["datapack", "trainers"])
def test_no_module_needs_itself(modules):
    """The arrows between the modules, those for types among them, run one way: there is no circle."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in modules}
    needs = {name: (imports(path) & names.keys()) - {name} for name, path in names.items()}
    assert set(TopologicalSorter(needs).static_order()) == names.keys()  # raises where there is a circle


def test_manifest_is_standard_library_only():
    """The trainers bring the manifest into an image without our dependencies: it must import there."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import datapack.manifest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    foreign = {name.partition(".")[0] for name in done.stdout.split()} - sys.stdlib_module_names
    assert foreign <= {"datapack", "__main__"}
    ours = {name for name in done.stdout.split() if name.startswith("datapack.")}
    assert ours == {"datapack.manifest", "datapack.errors"}


def test_help_needs_no_heavy_package():
    """`datapack --help` answers without pydantic, DVC, docker, oras, Pillow, requests or urllib3."""
    ask = "import sys, datapack.cli\ntry: datapack.cli.main(['--help'])\nexcept SystemExit: pass\n"
    code = f"{ask}print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "build" in done.stdout
    heavy = {"pydantic", "dvc", "docker", "oras", "PIL", "requests", "urllib3", "yaml", "tqdm"}
    assert not heavy & set(done.stderr.split())
