"""Ctrl-C, SIGTERM, a connection that drops: the step is finished and saved, a second signal leaves at once, and before the first
step one word is all. And the clock that says when to save."""

import multiprocessing
import os
import pty
import signal
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import psutil
import pytest
import torch
from accelerate import Accelerator

from tests.runs import child, dataset, flags, run_in_child  # noqa: F401 (dataset is a fixture)
from training import checkpoint, train
from training.interrupt import Interrupt
from training.train import cli, main

LONG = ["--epochs", "2000", "--batch-size", "1", "--save-every", "4", "--resident-gb", "0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_saves_and_leaves_with_130(number, dataset, tmp_path):
    process = child(flags(dataset, tmp_path / "run", *LONG), tmp_path / "log")
    wait_for(process, lambda: checkpoint.saved(tmp_path / "run" / "state"))
    workers = psutil.Process(process.pid).children()
    assert workers
    for reached in [*workers, process]:  # as a terminal's Ctrl-C does
        os.kill(reached.pid, number)
    process.join(60)
    told = (tmp_path / "log").read_text()
    assert process.exitcode == 130 and told.count("finishing the step and saving; once more leaves at once") == 1 and "Traceback" not in told
    assert f"--output {tmp_path / 'run'} --resume" in told
    step = int(told.split("stopped after step ")[1].split()[0])
    assert checkpoint.newest_complete(tmp_path / "run" / "state").name == f"step-{step:08d}"


def connected(arguments: list[str], terminal: str, output: str, log: str | None = None) -> None:
    """As over a connection: the first terminal that a new session opens is its own, and tells it when it goes. log: for stderr, where
    stdout alone goes to `output`."""
    os.setsid()
    os.open(terminal, os.O_RDWR)
    stream = os.open(output, os.O_WRONLY)
    sys.stdout, sys.stderr = (open(os.dup2(stream, number), "w", buffering=1) for number in (1, 2))  # pytest's are files, and these know it
    if log:
        begin = train.cli
        train.cli = lambda: (os.dup2(stream, 1), begin())
    run_in_child(arguments, log or output)


@pytest.mark.parametrize("piped, drops, more", [("", True, []), ("all", True, []), ("all", False, []), ("stdout", False, []),
                                                ("stdout", False, ["--batch-size", "48", "--save-every", "0"])])  # each step is the end of an epoch, which is told before it is saved
def test_a_connection_that_drops_saves_first_and_so_does_ctrl_c_where_the_reader_of_a_pipe_gets_it_too(piped, drops, more, dataset, tmp_path):
    """What the run writes to its terminal from then on is an error; so it is with a pipe whose reader goes, as in `2>&1 | tee log` or
    `| tee log`, where stderr is still read."""
    ours, theirs = pty.openpty()
    terminal, reader, pipe = os.ttyname(theirs), ours, tmp_path / "pipe"
    if piped:
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, False)

    def read_until_it_saves():
        with suppress(BlockingIOError):
            os.read(reader, 2**16)
        return checkpoint.saved(tmp_path / "run" / "state")

    log = str(tmp_path / "log") if piped == "stdout" else None
    process = multiprocessing.get_context("forkserver").Process(target=connected, args=(flags(dataset, tmp_path / "run", *LONG, *more), terminal, str(pipe) if piped else terminal, log))
    process.start()
    try:
        wait_for(process, read_until_it_saves)
        if piped:
            os.close(reader)
        if drops:
            os.close(theirs)
            os.close(ours)
        else:
            os.kill(process.pid, signal.SIGINT)
        process.join(60)
        state = checkpoint.newest_complete(tmp_path / "run" / "state")
        assert process.exitcode == 130 and state
        if log:
            told = (tmp_path / "log").read_text()
            step = int(told.split("stopped after step ")[1].split()[0])
            assert state.name == f"step-{step:08d}" and f"--output {tmp_path / 'run'} --resume" in told and "Traceback" not in told
    finally:
        process.kill()


def test_a_hangup_that_nohup_has_ignored_stays_ignored_and_a_workers_signal_is_not_the_runs():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt = Interrupt(Accelerator(cpu=True), minutes=0, started=time.monotonic())
    try:
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        interrupt.process = os.getppid()  # this one is then its worker
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.first is None
    finally:
        interrupt.restore()
        signal.signal(signal.SIGHUP, before)


class Joined:
    """One of two processes: a thread, whose sums wait for the other one."""

    device, num_processes = torch.device("cpu"), 2

    def __init__(self, index: int, barrier: threading.Barrier, wishes: list):
        self.is_main_process, self.index, self.barrier, self.wishes = index == 0, index, barrier, wishes

    def reduce(self, mine, how):
        self.wishes[self.index] = mine
        self.barrier.wait(30)
        total = sum(self.wishes)
        self.barrier.wait(30)
        return total


@pytest.mark.parametrize("every", [0, 1])  # --save-every
def test_processes_save_and_stop_at_the_same_step_by_the_main_ones_clock(every, monkeypatch):
    barrier, wishes, saves, stops = threading.Barrier(2), [None, None], ([], []), [None, None]
    signals = SimpleNamespace(signal=lambda *_: None, getsignal=signal.getsignal, SIG_IGN=signal.SIG_IGN, SIGINT=signal.SIGINT, SIGTERM=signal.SIGTERM)
    monkeypatch.setattr("training.interrupt.signal", signals)  # only the main thread may
    now = threading.local()
    monkeypatch.setattr("training.interrupt.time", SimpleNamespace(monotonic=lambda: now.seconds))

    def run(index: int) -> None:
        now.seconds = 0.0
        interrupt = Interrupt(Joined(index, barrier, wishes), minutes=0, started=0.0, save_minutes=0 if every else 10)
        for step in range(1, 41):
            now.seconds += 60 if index == 0 else 600  # clocks differ
            if step == 33 and index == 1:
                interrupt.first = now.seconds
            stop, due = interrupt.asked()
            if stop or due or every:
                saves[index].append(step)
                interrupt.saved()
            if stop:
                stops[index] = step
                break

    threads = [threading.Thread(target=run, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stops == [34, 34] and saves[0] == saves[1] == (list(range(1, 35)) if every else [12, 24, 34])  # told a step after it is due


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
        assert interrupt.asked() == (False, False)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)  # what a launcher passes on
        assert interrupt.asked() == (True, False) and left == []
        interrupt.first -= 1
        os.kill(os.getpid(), signal.SIGTERM)
        assert left == [130]
    finally:
        interrupt.restore()
