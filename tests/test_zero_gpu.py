"""With the package `spaces`, large models borrow a GPU for a call, in a process that may not have them; without, nothing changes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models import save_model
from vit_demo import zero_gpu

ROOT = Path(__file__).parent.parent
# As ZeroGPU does it: arguments and answers are pickled, and the process is forked before a model is opened.
FAKE = """
import multiprocessing
calls = []
def GPU(duration=None):
    def decorate(function):
        def borrowed(*arguments):
            calls.append(function.__name__)
            with context.Pool(1) as pool:
                return pool.apply(run, (function.__module__, function.__name__, duration, arguments))
        FUNCTIONS[function.__name__] = function
        return borrowed
    return decorate
FUNCTIONS = {}
context = multiprocessing.get_context("spawn")
def run(module, name, duration, arguments):
    import importlib
    assert duration == 15
    importlib.import_module(module)
    return FUNCTIONS[name](*arguments)
"""
SCRIPT = """
import sys
import torch
from PIL import Image
from vit_demo import classifier, trace, zero_gpu

if __name__ == "__main__":
    large, picture = zero_gpu.LARGE, Image.open(sys.argv[2])
    opened = classifier.load(sys.argv[1])
    plain, seen = opened.logits([picture]), trace.trace(opened, picture)
    print("small:", sys.modules['spaces'].calls if zero_gpu.GPU else "no spaces")
    zero_gpu.LARGE = 1000
    assert torch.equal(opened.logits([picture]), plain)
    lent = trace.trace(opened, picture)
    assert all(torch.equal(getattr(lent, name), getattr(seen, name)) for name in ("patches", "attentions", "hidden_states", "logits")) and lent.grid == seen.grid
    print("large:", sys.modules['spaces'].calls[-2:] if zero_gpu.GPU else "no spaces")
"""


@pytest.mark.parametrize("there", [True, False])
def test_large_models_borrow_and_answer_the_same(there, tmp_path):
    model = save_model(tmp_path / "model")
    (tmp_path / "script.py").write_text(SCRIPT)
    if there:
        (tmp_path / "spaces.py").write_text(FAKE)
    done = subprocess.run([sys.executable, "script.py", str(model), str(ROOT / "vit_demo/samples/00_cat.png")], cwd=tmp_path, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == (["small: []", "large: ['lent_logits', '_lent_pass']"] if there else ["small: no spaces", "large: no spaces"])


def test_the_app_meets_the_package_before_torch(tmp_path):
    """It puts its own in torch's place, and is too late once torch is there."""
    (tmp_path / "spaces.py").write_text("import sys\nprint('torch is there:', 'torch' in sys.modules)\nGPU = lambda duration: lambda function: function\n")
    done = subprocess.run([sys.executable, "app.py", "--model", str(tmp_path)], cwd=ROOT, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True)
    assert (done.returncode, done.stdout) == (2, "torch is there: False\n"), done.stderr


def test_only_where_gpus_are_lent_is_a_model_moved(monkeypatch):
    moved = []
    model = type("Model", (), {"to": lambda self, device: moved.append(device)})()
    monkeypatch.delenv(zero_gpu.ZERO, raising=False)
    zero_gpu.place(model)
    assert moved == []
    monkeypatch.setenv(zero_gpu.ZERO, "true")
    zero_gpu.place(model, model)
    assert moved == ["cuda", "cuda"]
