"""How sure, and how far to believe it. Natural logarithms throughout.

Legend: K classes, M numbers of a table. (Calibration is measured by training, and written into metrics.json.)
"""

import torch
from torch import Tensor


def softmax(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """(...,K) -> (...,K), sums to 1; above temperature 1 flatter, below sharper (Guo et al. 2017, arXiv:1706.04599)."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    return (logits / temperature).softmax(dim=-1)


def entropy(probabilities: Tensor) -> Tensor:
    """(...,K) -> (...) in nats: 0 when one class has everything, log K when all are equal."""
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """(...,K) -> (...): -t log sum exp(logits / t); high means none of the classes. Liu et al. 2020, arXiv:2010.03759."""
    return -temperature * (logits / temperature).logsumexp(dim=-1)


def percentile(value: float, table: Tensor) -> float:
    """A number and a sorted (M,) table -> share of the table at or below it, 0 to 100."""
    return 100 * torch.searchsorted(table, torch.as_tensor(value, dtype=table.dtype), right=True).item() / len(table)
