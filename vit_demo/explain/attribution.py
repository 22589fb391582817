"""What a map of shares says besides its numbers: what they should sum to, and how sure they are."""

from typing import NamedTuple

from torch import Tensor


class Attribution(NamedTuple):
    """Shares whose sum should be the target's change from nothing to the whole picture."""

    patches: Tensor  # (N,), signed
    change: float  # target on the whole picture minus target on nothing
    gap: float  # patches.sum() - change
    draws: int | None = None  # of an estimate: how often it tried
    agreement: float | None = None  # of an estimate: the correlation that another one from as many draws would have with it


def patches_of(found: Tensor | Attribution) -> Tensor:
    """(N,) of what a map gave, with or without more about it."""
    return found if isinstance(found, Tensor) else found.patches
