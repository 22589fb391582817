"""The bar's forecast."""

from types import SimpleNamespace

import pytest
import torch

from training.config import TrainConfig
from training.progress import Meter, Progress, clock

STEPS = 10
ALONE = SimpleNamespace(num_processes=1, is_main_process=False)


def meter(**settings) -> Meter:
    return Meter(Progress(), TrainConfig(epochs=4, **settings), 0, STEPS, ALONE)


def test_without_patch_dropout_all_steps_cost_the_same():
    assert [meter().work(step) for step in (0, 7, 10, 40)] == [0, 7, 10, 40]


def test_steps_with_half_of_the_patches_count_half():
    half_way = meter(patch_dropout=0.5, patch_dropout_until=0.5)
    assert [half_way.work(step) for step in (0, 7, 20, 21, 40)] == [0, 3.5, 10, 11, 30]
    assert meter(patch_dropout=0.5).work(40) == 20


@pytest.mark.parametrize("settings, left", [({}, "0:05:00"), ({"patch_dropout": 0.5, "patch_dropout_until": 0.5}, "0:08:20")])
def test_the_time_left_follows_from_it(settings, left):
    bar = meter(**settings)
    bar.progress.step, bar.progress.seconds, shown = 10, 100.0, []
    bar.bar.set_postfix_str = shown.append
    bar.show()
    assert f"{left} left in all" in shown[0]


def test_saving_does_not_count_and_what_a_gpu_still_has_to_do_does(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("training.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    bar = meter()
    now[0] += 2
    bar.add(SimpleNamespace(number=0, loss=torch.tensor(1.0), correct=None))
    now[0] += 50
    bar.saved()
    bar.sums = lambda: now.__setitem__(0, now[0] + 3) or (1.0, 0.0)  # it waits for the last step
    bar.close()
    assert bar.progress.seconds == 5


def test_hours_minutes_and_seconds():
    assert [clock(seconds) for seconds in (0, 59.9, 3600 + 61)] == ["0:00:00", "0:00:59", "1:01:01"]
