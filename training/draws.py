"""What is drawn at random is drawn from named parts, so that nothing that is drawn beside it changes it."""

import hashlib

import torch


def seed_for(*parts) -> int:
    """One 63-bit seed from any named parts, the same on every machine and version."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def epoch_order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """(count,) int64: the order in which epoch `epoch` visits the pictures."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for("order", seed, epoch)))
