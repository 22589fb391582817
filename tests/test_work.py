"""Long work is told bit by bit, and stops when nobody listens any more."""

import threading
import time

import pytest

from vit_demo.chapters import work
from vit_demo.chapters.work import told
from vit_demo.turns import take
from vit_demo.errors import Stopped


def test_progress_then_the_result():
    def work(progress):
        progress(1, 2)
        return {"answer": 42}

    bits = list(told(work))
    assert bits[-1] == {"answer": 42, "progress": 1} and all(bit["progress"] <= 1 for bit in bits)


def test_leaving_stops_the_work():
    ended, rounds = threading.Event(), []

    def work(progress):
        try:
            for done in range(10_000):
                progress(done, 10_000)
                rounds.append(done)
                time.sleep(0.001)
        finally:
            ended.set()

    bits = told(work)
    next(bits)
    bits.close()
    assert ended.wait(5) and len(rounds) < 9_000


def test_leaving_stops_work_that_says_nothing():
    stop = threading.Event()
    bits = told(lambda progress: {"stopped": stop.wait(60)}, stop)
    assert [next(bits), next(bits)] == [{"progress": 0}] * 2
    bits.close()
    assert stop.is_set()


def test_silence_repeats_what_was_said_last(monkeypatch):
    monkeypatch.setattr(work, "BEAT", 0.01)
    may = threading.Event()

    def slow(progress):
        progress(1, 4)
        return {"answer": may.wait(60)}

    bits = told(slow)
    assert next(bit["progress"] for bit in bits if bit["progress"]) == 0.25  # nothing was said before
    assert [next(bits)["progress"] for _ in range(3)] == [0.25] * 3
    may.set()
    assert list(bits)[-1] == {"answer": True, "progress": 1}


def test_an_error_reaches_who_asked():
    def work(progress):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(told(work))


def soon(bits) -> dict:
    """What is told at last, or after ten seconds."""
    return [bit for _, bit in zip(range(20), bits, strict=False)][-1]


@pytest.fixture
def places(monkeypatch):
    """Two of them, both free again at the end."""
    places = threading.Semaphore(2)
    yield places
    assert places.acquire(timeout=10) and places.acquire(timeout=10)


def test_work_that_was_left_does_not_pile_up(places):
    """Whatever it hears late: it keeps its place until then, and those who come wait, and may leave meanwhile."""
    running, most, begun, may = [], [], threading.Semaphore(0), threading.Event()

    def deaf(progress):
        running.append(None)
        most.append(len(running))
        begun.release()
        may.wait(60)
        running.pop()
        progress(1, 2)

    for _ in range(2):
        bits = told(deaf, places=places)
        next(bits)
        assert begun.acquire(timeout=10)
        bits.close()
    for _ in range(6):
        bits = told(deaf, places=places)
        assert next(bits) == {"progress": 0}
        bits.close()
    waits = told(lambda progress: {"answer": 42}, places=places)
    assert [next(waits), next(waits)] == [{"progress": 0}] * 2
    may.set()
    assert soon(waits) == {"answer": 42, "progress": 1}
    assert max(most) == 2 == len(most)


def test_a_place_is_given_back_however_the_work_ends(places):
    def fails(progress):
        raise ValueError("no")

    for _ in range(3):
        assert soon(told(lambda progress: {"answer": 42}, places=places))["answer"] == 42
        with pytest.raises(ValueError, match="no"):
            soon(told(fails, places=places))


def test_nobody_who_reads_slowly_keeps_a_place(places):
    """The generator stands still between two bits, and its work goes on."""
    slow = [told(lambda progress: progress(1, 2) or {"answer": 42}, places=places) for _ in range(3)]
    for bits in slow:
        next(bits)
    assert soon(told(lambda progress: {"answer": 42}, places=places))["answer"] == 42


def test_who_waits_for_a_place_is_told_when_that_takes_long():
    taken, stop = threading.Semaphore(0), threading.Event()
    assert not take(taken, stop, 0.05)
    stop.set()
    with pytest.raises(Stopped):
        take(threading.Semaphore(1), stop)
