"""Ctrl-C and SIGTERM: the step is finished and saved, a second one leaves at once, and before the first step one word is all."""

import os
import signal
import time

import psutil
import pytest
from accelerate import Accelerator

from tests.runs import child, dataset, flags  # noqa: F401 (dataset is a fixture)
from training import checkpoint, train
from training.interrupt import Interrupt
from training.train import cli, main


def test_the_first_signal_saves_and_leaves_with_130_the_second_leaves_at_once(dataset, tmp_path):
    process = child(flags(dataset, tmp_path / "run", "--epochs", "2000", "--batch-size", "1", "--save-every", "4", "--resident-gb", "0"), tmp_path / "log")
    wait_for(process, lambda: checkpoint.saved(tmp_path / "run" / "state"))
    workers = psutil.Process(process.pid).children()
    assert workers
    for reached in [*workers, process]:  # as a terminal's Ctrl-C does
        os.kill(reached.pid, signal.SIGINT)
    process.join(60)
    told = (tmp_path / "log").read_text()
    assert process.exitcode == 130 and told.count("finishing the step and saving; once more leaves at once") == 1 and "Traceback" not in told
    assert f"--output {tmp_path / 'run'} --resume" in told
    step = int(told.split("stopped after step ")[1].split()[0])
    assert checkpoint.newest_complete(tmp_path / "run" / "state").name == f"step-{step:08d}"


def wait_for(process, sign, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not sign():
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_step_is_one_word_and_130(number, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "load_splits", lambda *given, **more: os.kill(os.getpid(), number) or time.sleep(10))
    with pytest.raises(SystemExit) as stopped:
        cli(lambda: main(flags(dataset, tmp_path / "run")))
    assert stopped.value.code == 130 and capsys.readouterr().err == "stopped\n" and not (tmp_path / "run").exists()


def test_a_second_signal_leaves_at_once_but_a_launchers_echo_does_not(monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    interrupt = Interrupt(Accelerator(cpu=True), minutes=0, started=time.monotonic())
    try:
        assert not interrupt.asked()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # what a launcher passes on
        assert interrupt.asked() and left == []
        interrupt.first -= 1
        os.kill(os.getpid(), signal.SIGTERM)
        assert left == [130]
    finally:
        interrupt.restore()
