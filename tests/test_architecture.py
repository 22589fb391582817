"""ARCHITECTURE.md is true: every module is in its drawing, every import runs as it says, and importing does nothing else."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE, IMPORTS = re.findall(r"```\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.DOTALL)[:2]
ALLOWED = {line.split()[0]: set(line.split("->")[1].split()) for line in IMPORTS.splitlines()}
NAMES = re.compile(r"( *)((?:[\w.]+(?:\.(?:py|md|txt)|/) *)+)")


def modules() -> dict[str, Path]:
    """Dotted name -> file, of everything but the tests."""
    paths = [ROOT / "app.py", *(path for top in ("vit_demo", "training", "benchmarks") for path in sorted((ROOT / top).rglob("*.py")))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


MODULES = modules()


@cache
def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in it: modules, not the names within them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: say where it lies, not where from here"
            inner = {f"{node.module}.{name.name}" for name in node.names} & set(MODULES)
            found |= inner or {node.module}
    return found


def group(module: str) -> str:
    """The module's name in the drawing of imports."""
    parts = module.split(".")
    return parts[1] if parts[0] == "vit_demo" and len(parts) > 1 else parts[0]


def drawn() -> set[str]:
    """Paths in the drawing of the house."""
    found, folders = set(), {}
    for line in HOUSE.splitlines():
        indent, names = NAMES.match(line).groups()
        for name in names.split():
            folders[len(indent)] = name.rstrip("/")
            above = [folders[depth] for depth in sorted(folders) if depth < len(indent)]
            found.add("/".join([*above, name.rstrip("/")]))
    return found


def test_the_drawing_of_the_house_names_every_module_and_nothing_else():
    paths = drawn()
    assert [path for path in paths if not (ROOT / path).exists() and path != "vit_demo/bundled"] == []
    files = {path.relative_to(ROOT).as_posix() for path in MODULES.values() if path.name != "__init__.py" and path.parts[-2] != "benchmarks"}
    assert files - paths == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_as_drawn(module):
    ours = {group(name) for name in imported(MODULES[module]) if name.split(".")[0] in ("vit_demo", "training", "benchmarks", "tests", "app")}
    assert ours - {group(module)} <= ALLOWED.get(group(module), set()), f"{module} imports what {group(module)} may not"


def test_no_import_runs_in_a_circle():
    TopologicalSorter({module: imported(path) & set(MODULES) - {module} for module, path in MODULES.items()}).prepare()
    TopologicalSorter(ALLOWED).prepare()


@pytest.mark.parametrize(("library", "where"), [
    ("gradio", {"vit_demo.page"}),
    ("huggingface_hub", {"vit_demo.space", "training", "benchmarks", *(name for name in MODULES if name.startswith("vit_demo.hub_"))})])
def test_a_library_is_met_where_it_belongs(library, where):
    met = {module for module, path in MODULES.items() if library in {name.split(".")[0] for name in imported(path)}}
    assert {module for module in met if module not in where and module.split(".")[0] not in where} == set()


def test_the_maths_needs_torch_and_nothing_else():
    tops = {name.split(".")[0] for module, path in MODULES.items() if group(module) == "explain" for name in imported(path)}
    assert tops - set(sys.stdlib_module_names) == {"torch", "vit_demo"}
    assert not tops & {"os", "pathlib", "io", "subprocess", "socket", "urllib", "threading"}


WATCH = """
import importlib, os, sys, threading
import accelerate, gradio, huggingface_hub, torch
from transformers import ViTForImageClassification, ViTImageProcessorPil  # what libraries do is their affair: they come first
def watch(event, given):
    writes = event == "open" and (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir", "os.rename", "os.remove", "os.exec", "os.fork"):
        sys.exit(f"{name} does {event} {given} when it is imported")
sys.addaudithook(watch)
before = threading.active_count()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert threading.active_count() == before and not torch.cuda.is_initialized()
"""


def test_importing_does_nothing():
    names = [name for name in MODULES if name.split(".")[0] in ("vit_demo", "training")]
    done = subprocess.run([sys.executable, "-B", "-c", WATCH, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [module for module, path in MODULES.items() if "__main__" in path.read_text("utf-8")])
def test_a_command_runs_after_all_of_its_module_is_defined(module):
    last = ast.parse(MODULES[module].read_text("utf-8")).body[-1]
    assert isinstance(last, ast.If) and "__main__" in ast.unparse(last.test)
