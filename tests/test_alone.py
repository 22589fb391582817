"""One run at a time writes to a folder, and a run that was killed keeps nobody out."""

import errno
import multiprocessing
import os
import time

import pytest

from training import alone
from training.alone import alone_in
from vit_demo.errors import UserError


def hold(folder, begun):
    with alone_in(folder):
        begun.set()
        time.sleep(100)


@pytest.fixture
def held_elsewhere():
    """A function that has another process hold a folder -> that process."""
    started, context = [], multiprocessing.get_context("fork")

    def holding(folder):
        begun = context.Event()
        started.append(context.Process(target=hold, args=(folder, begun)))
        started[-1].start()
        assert begun.wait(30)
        return started[-1]

    yield holding
    for process in started:
        process.kill()
        process.join()


def test_a_folder_is_one_runs_until_that_ends_in_whatever_way(tmp_path, held_elsewhere):
    folder = tmp_path / "runs" / "run"
    other = held_elsewhere(folder)
    told = f"another run is writing to {folder} \\(process {other.pid} on {os.uname().nodename}\\): wait for it, stop it, or give another --output; where its machine is gone, delete {folder}/.running"
    for _ in range(2):  # to ask changes nothing
        with pytest.raises(UserError, match=told), alone_in(folder):
            pass
    other.kill()
    other.join()
    assert [path.name for path in folder.iterdir()] == [".running"]
    with alone_in(folder):
        assert (folder / ".running").read_text() == f"process {os.getpid()} on {os.uname().nodename}"
    assert not list(folder.iterdir())  # it was there already
    held_elsewhere(folder)


def test_a_folder_that_was_made_for_nothing_goes_away_and_one_with_something_stays(tmp_path):
    with alone_in(tmp_path / "runs" / "run"):
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), alone_in(tmp_path / "runs" / "run"):
        (tmp_path / "runs" / "run" / "train.yaml").touch()
        raise KeyError
    assert [path.name for path in (tmp_path / "runs" / "run").iterdir()] == ["train.yaml"]


def test_a_lock_whose_file_was_taken_away_as_it_was_taken_is_taken_anew(tmp_path, monkeypatch):
    """By the run that ended just then: a third one would take the file that it makes."""
    locked, turns = alone.locked, []

    def late(handle):
        if not turns:
            (tmp_path / ".running").unlink()
        turns.append(handle)
        return locked(handle)

    monkeypatch.setattr(alone, "locked", late)
    with alone_in(tmp_path):
        assert len(turns) == 2 and (tmp_path / ".running").read_text()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EIO])
def test_a_disk_without_locks_keeps_nobody_from_training(tmp_path, monkeypatch, number):
    def unable(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", unable)
    with alone_in(tmp_path), alone_in(tmp_path):
        pass
