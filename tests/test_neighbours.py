import torch
from torch.testing import assert_close

from vit_demo.explain.neighbours import nearest


def test_nearest_goes_by_direction_not_length():
    bank = torch.tensor([[0.0, 1.0], [100.0, 100.0], [3.0, 0.0], [-1.0, 0.0]]).half()
    cosines, rows = nearest(torch.tensor([2.0, 0.1]), bank, count=3)
    assert rows.tolist() == [2, 1, 0]
    assert_close(cosines, torch.tensor([2.0, 2.1 / 2**0.5, 0.1]) / torch.tensor([2.0, 0.1]).norm())


def test_a_small_bank_gives_all_it_has():
    assert len(nearest(torch.ones(2), torch.eye(2), count=8)[1]) == 2
