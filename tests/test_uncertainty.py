import math

import pytest
import torch
from torch.testing import assert_close

from vit_demo.explain.uncertainty import energy, entropy, percentile, softmax


def test_temperature_1_is_softmax_and_the_ends_are_one_class_and_all_alike():
    logits = torch.tensor([[2.0, 1.0, -3.0], [0.0, 0.0, 5.0]])
    assert_close(softmax(logits), logits.softmax(-1))
    assert_close(softmax(logits, 2.0), (logits / 2).softmax(-1))
    assert_close(softmax(logits, 1e-4), torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
    assert_close(softmax(logits, 1e6), torch.full((2, 3), 1 / 3), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="above 0"):
        softmax(logits, 0)


def test_entropy_goes_from_0_to_log_of_the_classes():
    assert entropy(torch.tensor([1.0, 0.0, 0.0, 0.0])) == 0
    assert_close(entropy(torch.full((4,), 0.25)).item(), math.log(4))


def test_energy_is_minus_log_of_the_summed_exponentials():
    assert_close(energy(torch.tensor([math.log(2.0), math.log(6.0)])).item(), -math.log(8))
    assert_close(energy(torch.tensor([math.log(2.0), math.log(6.0)]), 2.0).item(), -2 * math.log(2**0.5 + 6**0.5))
    sure, unsure = torch.tensor([9.0, 0.0]), torch.tensor([0.1, 0.0])
    assert energy(sure) < energy(unsure)


def test_percentile_is_the_share_at_or_below():
    table = torch.tensor([-4.0, -3.0, -3.0, 0.0])
    assert [percentile(v, table) for v in (-5, -4, -3, -1, 0, 9)] == [0, 25, 75, 75, 100, 100]
