"""Long work is told bit by bit, and stops when nobody listens any more."""

import threading
import time

import pytest

from vit_demo.chapters import work
from vit_demo.chapters.work import told


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
    shares = [next(bits)["progress"] for _ in range(4)]
    assert shares in ([0.25] * 4, [0, 0.25, 0.25, 0.25])
    may.set()
    assert list(bits)[-1] == {"answer": True, "progress": 1}


def test_an_error_reaches_who_asked():
    def work(progress):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(told(work))
