"""The notebook's cells run from top to bottom, as written, on a small model and a few pictures; none installs torch."""

import json
from pathlib import Path

import datasets
import numpy
import pytest
from PIL import Image

from tests.models import LABELS, save_model
from tests.training_data import NAMES, image_folder
from vit_demo.classifier import BUNDLED

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "vit_explained.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A data set in CIFAR-10's layout and a model to start from, as the notebook's settings."""
    settings = {"DATASET": cifar_like(tmp_path / "data"), "MODEL": save_model(tmp_path / "base"), "OUTPUT": tmp_path / "run",
                "MORE": "--epochs 1 --batch-size 20"}
    for name, value in settings.items():
        monkeypatch.setenv(f"NOTEBOOK_{name}", str(value))
    monkeypatch.chdir(ROOT / "notebooks")  # where Jupyter runs it; what the cells change is put back
    return tmp_path


def cifar_like(folder: Path) -> Path:
    rng = numpy.random.default_rng(0)
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=LABELS)})
    for split, count in (("train", 40), ("test", 20)):
        rows = {"img": [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype="uint8")) for _ in range(count)],
                "label": [i % 10 for i in range(count)]}
        folder.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def run_cells() -> dict:
    names: dict = {}
    for number, cell in enumerate(code_cells()):
        exec(compile(cell, f"cell {number}", "exec"), names)
    return names


bundled = pytest.mark.skipif(not (BUNDLED / "config.json").is_file(), reason="the bundled model is not in this copy")


@bundled
def test_every_cell_runs(small, capsys):
    names = run_cells()
    assert Path.cwd() == ROOT  # what it says at its end is typed there
    metrics = json.loads((small / "run" / "metrics.json").read_text())
    assert f"{metrics['test_accuracy']:.1%} of 20 test pictures right" in capsys.readouterr().out
    assert names["answers"][0]["label"] in LABELS and names["truth"] == "cat"


@bundled
def test_every_cell_runs_on_folders_of_ones_own_pictures(small, monkeypatch, capsys):
    monkeypatch.setenv("NOTEBOOK_DATASET", str(image_folder(small / "mine", 60)))
    names = run_cells()
    metrics = json.loads((small / "run" / "metrics.json").read_text())
    assert f"{metrics['validation_accuracy']:.1%} of 6 validation pictures right" in capsys.readouterr().out
    assert names["answers"][0]["label"] in NAMES


def test_it_never_installs_torch_and_keeps_no_output():
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert 'not line.startswith("torch")' in code_cells()[0]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in notebook["cells"] if cell["cell_type"] == "code")
