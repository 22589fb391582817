"""Nearest pictures by the direction of their CLS vectors (k-NN on frozen features: Caron et al. 2021, arXiv:2104.14294).

Legend: M pictures in the bank, D width.
"""

from torch import Tensor
from torch.nn.functional import normalize


def nearest(cls: Tensor, bank: Tensor, count: int = 8) -> tuple[Tensor, Tensor]:
    """CLS (D,) of a picture, bank (M,D) of others at the same layer -> cosines (count,), rows of the bank (count,)."""
    cosines = normalize(bank.float(), dim=-1) @ normalize(cls.float(), dim=-1)
    return tuple(cosines.topk(min(count, len(bank))))
