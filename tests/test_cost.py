from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import ViTConfig

from tests.explain_models import SHAPES, model, pixels
from vit_demo.explain.cost import flops, measure, patch_count, timings, token_pairs


def test_the_numbers_that_are_often_told_wrong():
    assert patch_count(224, 16) == 196
    assert token_pairs(197) == 38_809
    assert patch_count([16, 24], 4) == 24


@pytest.mark.parametrize("name", SHAPES)
def test_operations_are_those_that_torch_counts(name):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(name)(pixels(name))
    assert flops(model(name).config).total == counter.get_total_flops()


def test_vit_base_is_about_35_billion_operations_and_attention_grows_with_the_square():
    base = ViTConfig(num_labels=1000)
    assert 34e9 < flops(base).total < 36e9  # 17.5 billion multiply-adds
    assert flops(base, patch_size=8).attention / flops(base).attention == (785 / 197) ** 2


class Clock:
    """A clock on which each forward takes as long as it says."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_first_call_is_not_counted_and_the_fastest_is_taken():
    clock, seconds = Clock(), iter([9.0, 3.0, 2.0, 5.0])

    def call():
        clock.now += next(seconds)

    assert measure(call, clock) == 2.0


def test_what_is_too_large_is_extrapolated_and_says_so():
    config = ViTConfig(image_size=32, hidden_size=48, num_hidden_layers=2, intermediate_size=96)
    clock, run = Clock(), []

    def forward(patch_size):
        def call():
            run.append(patch_size)
            clock.now += flops(config, patch_size=patch_size).total
        return call

    rows = list(timings(config, [1, 4, 8, 2], forward, clock, max_tokens=65))
    assert [(row.patch_size, row.tokens, row.measured) for row in rows] == [
        (8, 17, True), (4, 65, True), (2, 257, False), (1, 1025, False)]
    assert set(run) == {8, 4}
    for row in rows:  # on a machine that takes a second an operation, the extrapolation is exact
        assert row.seconds == pytest.approx(flops(config, patch_size=row.patch_size).total)
        assert row.pairs == row.tokens**2


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="at most 10 tokens"):
        list(timings(SimpleNamespace(image_size=32), [4], None, None, max_tokens=10))
