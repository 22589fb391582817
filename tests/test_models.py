"""Which model answers, while others are on their way, fail, or hang."""

import threading
import time

import pytest

from vit_demo.errors import Stopped, Unreachable, UserError
from vit_demo.models import AT_ONCE, KEPT, NEWS_SECONDS, Models


class Fake:
    def __init__(self, name):
        self.name, self.revision = name, "old"


def loader(gates=None, problems=None):
    def load(source, *, token=None, report=None, stop=None):
        if gates and source in gates:
            report("fetching 3.0 of 12 MB", 0.25)
            while not gates[source].wait(0.01):
                if stop.is_set():
                    raise Stopped
        if problems and source in problems:
            raise problems[source]
        return Fake(source or "bundled")

    return load


def test_the_bundled_model_answers_until_the_wanted_one_is_here():
    gate = threading.Event()
    models = Models("user/slow", loader({"user/slow": gate}))
    assert models.default.name == "bundled"
    while models.wanted.share is None:
        time.sleep(0.01)
    assert models.wanted.line() == "Loading user/slow: fetching 3.0 of 12 MB." and models.wanted.share == 0.25
    models.leave(models.fetch("user/slow"))  # a visitor who asks for the same and leaves does not stop the owner's
    assert not models.wanted.stop.is_set()
    gate.set()
    assert models.wanted.done.wait(10)
    assert models.default.name == models.get(None).name == "user/slow"


def test_a_folder_is_read_before_the_page_opens(tmp_path):
    def load(source):
        raise UserError(f"{source} is no model")

    with pytest.raises(UserError, match="is no model"):
        Models(str(tmp_path), load)


def test_without_a_bundled_model_the_wanted_one_is_waited_for():
    def load(source, **options):
        if source is None:
            raise UserError("no bundled model")
        return Fake(source)

    assert Models("user/only", load).default.name == "user/only"


@pytest.mark.parametrize("problem, line", [(UserError("user/gone: there is no such model"), "there is no such model"),
                                           (RuntimeError("/secret/path"), "could not be opened")])
def test_a_failure_is_one_line_and_the_bundled_model_stays(problem, line, caplog):
    models = Models("user/gone", loader(problems={"user/gone": problem}))
    assert models.wanted.done.wait(10)
    assert line in models.wanted.line() and "secret" not in models.wanted.line()
    assert caplog.messages[-1] == f"{models.wanted.problem}; the bundled model answers"
    assert models.default.name == "bundled"


def test_a_hub_that_is_away_for_a_moment_is_asked_again_for_the_wanted_model(monkeypatch):
    monkeypatch.setattr("vit_demo.models.AGAIN", (0.2, 0.2))
    away, load = [3], loader()

    def unsteady(source, **given):
        if source and away[0]:
            away[0] -= 1
            raise Unreachable(f"{source}: the Hub did not answer in time")
        return load(source, **given)

    models = Models("user/there", unsteady)
    while models.wanted.step == "asking for it":
        time.sleep(0.01)
    assert models.wanted.line() == "Loading user/there: the Hub did not answer in time; it is asked for again in 0.2 s."
    assert models.wanted.done.wait(10) and models.default.name == "bundled" and "did not answer" in models.wanted.problem  # in the end
    away[0] = 2
    assert (again := Models("user/there", unsteady)).wanted.done.wait(10) and again.default.name == "user/there"
    away[0] = 1
    assert (visitors := models.fetch("user/other")).done.wait(10) and "did not answer" in visitors.problem  # who can ask again


def test_visitors_models_are_bounded_and_the_longest_unused_goes():
    models = Models(None, loader())
    for number in range(KEPT + 1):
        models.get("user/0")  # the first to come, and used since
        assert models.fetch(f"user/{number}").done.wait(10)
    assert models.get("user/1").name == "bundled"
    assert all(models.get(name).name == name for name in ("user/0", f"user/{KEPT}"))


def test_one_load_serves_all_who_ask_and_too_many_at_once_are_told_to_wait():
    gates = {f"user/{n}": threading.Event() for n in range(AT_ONCE)}
    models = Models(None, loader(gates))
    loads = [models.fetch(name) for name in gates]
    assert models.fetch("user/0") is loads[0]
    assert "try again" in models.fetch("user/more").line()
    for gate in gates.values():
        gate.set()
    assert all(load.done.wait(10) for load in loads)


def test_a_load_ends_with_the_last_who_waits_for_it_and_makes_room():
    gates = {f"user/{n}": threading.Event() for n in range(AT_ONCE)}
    models = Models(None, loader(gates))
    first, again, _ = models.fetch("user/0"), models.fetch("user/0"), models.fetch("user/1")
    models.leave(again)
    assert not first.done.wait(0.2)
    models.leave(first)
    assert first.done.wait(10) and first.classifier is None
    assert models.get("user/0").name == "bundled"
    anew = models.fetch("user/0")
    assert anew is not first
    gates["user/0"].set()
    assert anew.done.wait(10) and models.get("user/0").name == "user/0"


def test_what_arrives_when_all_have_left_is_not_kept():
    gate = threading.Event()

    def deaf(source, **_):
        return Fake(source if source and gate.wait(10) else "bundled")

    models = Models(None, deaf)
    loading = models.fetch("user/0")
    models.leave(loading)
    gate.set()
    assert loading.done.wait(10) and models.get("user/0").name == "bundled"


def test_loads_that_were_left_do_not_pile_up():
    """Whatever reads weights hears a stop late. What comes next waits for it, says so, and hears its own stop meanwhile."""
    running, most, lock, may = [], [0], threading.Lock(), threading.Event()

    def deaf(source, **_):
        if source:
            with lock:
                running.append(source)
                most[0] = max(most[0], len(running))
            may.wait(10)
            with lock:
                running.remove(source)
        return Fake(source or "bundled")

    models, left = Models(None, deaf), []
    for number in range(20):
        left.append(models.fetch(f"user/{number % 3}"))
        if number < AT_ONCE:
            while len(running) <= number:
                time.sleep(0.01)
        models.leave(left[-1])
    assert all(loading.done.wait(10) and not loading.classifier for loading in left[AT_ONCE:]) and most == [AT_ONCE]
    wanted = models.fetch("user/0")
    while wanted.step == "asking for it":
        time.sleep(0.01)
    assert wanted.line() == "Loading user/0: waiting until another has ended." and not wanted.done.is_set()
    may.set()
    assert wanted.done.wait(10) and models.get("user/0").name == "user/0" and most == [AT_ONCE]


def test_a_newer_version_is_asked_for_now_and_then_and_no_answer_is_no_news(monkeypatch):
    answers, asked = ["old", "new", UserError("the Hub is away")], []

    def newest(source):
        asked.append(source)
        answer = answers[len(asked) - 1]
        if isinstance(answer, UserError):
            raise answer
        return answer

    models = Models("user/wanted", loader(), newest)
    assert models.wanted.done.wait(10)
    held = models.held(None)
    for expected in (None, "new", "new"):
        for _ in range(3):
            models.look_for_newer(held)
        while held.asking:
            time.sleep(0.01)
        assert held.newer == expected
        held.asked -= NEWS_SECONDS
    assert asked == ["user/wanted"] * 3
    models.look_for_newer(Models(None, loader()).held(None))  # of the bundled model there is nothing to ask
