"""The README's tour without an account: its commands as written, one after the other, each in a process of its own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.started import answer, free_port, says, started
from vit_demo.classifier import load
from vit_demo.images import open_picture

ROOT = Path(__file__).parent.parent
SECTION = (ROOT / "README.md").read_text("utf-8").split("## Without an account")[1].split("\n## ")[0]
FIRST, THEN = (block.splitlines() for block in re.findall(r"```\n(.*?)```", SECTION, re.DOTALL))
HUB, (*STEPS, APP) = FIRST[-1], THEN
# A minute's training is made a second's: fewer and smaller layers, one epoch.
SMALLER = " --num-hidden-layers 1 --hidden-size 24 --intermediate-size 24 --epochs 1"
CAT = ROOT / "vit_demo" / "samples" / "00_cat.png"


def words(line: str) -> list[str]:
    program, *rest = shlex.split(line)
    assert program == "python"
    return [sys.executable, *rest]


@pytest.fixture
def place(tmp_path) -> Path:
    """The project as it lies here, in a folder of its own for what the commands write."""
    for name in ("app.py", "vit_demo", "training", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_tour_can_be_walked(place):
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "OMP_NUM_THREADS": "1", "GRADIO_SERVER_PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
    with started(words(HUB.replace("8900", "0")), place, environment, place / "hub.log") as hub:
        lines = re.findall("^export (.*)$", says(hub, place / "hub.log", "HF_HOME"), re.MULTILINE)
        environment |= dict(word.split("=", 1) for line in lines for word in shlex.split(line))
        for line in STEPS:
            line += SMALLER if "training.train" in line else ""
            done = subprocess.run(words(line) if line.startswith("python") else ["bash", "-c", line], cwd=place, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"done: {environment['HF_ENDPOINT']}/spaces/tester/first-space"
        expected = dict(load(place / "runs" / "first").top_k(open_picture(CAT), 10))
        with started(words(APP), place, environment, place / "app.log") as app:
            told = answer(app, f"http://127.0.0.1:{port}", CAT, 10, set(expected))
        assert told == pytest.approx(expected, abs=1e-5), (place / "app.log").read_text()
