"""Ctrl-C is quiet from the moment a command begins, and nobody else's is touched."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def slow_library(tmp_path):
    """An environment whose torch never ends loading, and says when it begins."""
    (tmp_path / "torch.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(600)\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("module", ["training.train", "training.pretrain", "training.evaluate", "training.publish", "training.bundle", "vit_demo.space"])
def test_ctrl_c_while_libraries_load_leaves_no_traceback(module, slow_library):
    with subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env=slow_library, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "") and process.returncode == -signal.SIGINT  # which a shell calls 130


def test_who_imports_us_keeps_their_own_ctrl_c():
    """A notebook, or a program of someone else."""
    asked = "import signal, training.train; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_command_that_has_begun_answers_ctrl_c_itself():
    asked = ("import os, signal, sys; sys.argv[0] = '-m'; import vit_demo; from vit_demo.commands import cli\n"
             "assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL\ncli(lambda: os.kill(os.getpid(), signal.SIGINT) or signal.pause())")
    told = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (130, "stopped\n")
