"""Which training pictures are held out, to choose or to measure on: always the same ones, whatever --seed says, and every class among them."""

import hashlib
import math
from collections import Counter
from itertools import pairwise

import torch

from training.draws import seed_for
from vit_demo.errors import UserError


def drawn(count: int) -> list[int]:
    """A permutation of `count` rows, always the same: runs of several seeds, and a pretraining before them, hold out the same pictures."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for("held out"))).tolist()


def by_class(labels: list[int]) -> list[int]:
    """The rows in an order, always the same, of which any first and any last ones show each class in its share."""
    count, met, places = Counter(labels), Counter(), {}
    for row in drawn(len(labels)):
        places[row] = (met[labels[row]] + 0.5) / count[labels[row]]
        met[labels[row]] += 1
    return sorted(places, key=places.get)


def in_blocks(labels: list[int]) -> bool:
    """Whether classes lie together: one after the other, or of stretches of rows, as long as the root of their number, the shares of the classes differ by
    more than shuffling would make them (chi-square, four standard deviations above its mean)."""
    if 1 < len(set(labels)) == sum(one != other for one, other in pairwise(labels)) + 1:
        return True
    ids, stretches = torch.tensor(labels).unique(return_inverse=True)[1], torch.arange(len(labels)) // math.isqrt(len(labels))
    sizes, counts = stretches.bincount(), ids.bincount()
    cells, found = (stretches * len(counts) + ids).unique(return_counts=True)  # those that are not empty: of a million words that would be few
    shares = found.double().square() / (sizes[cells // len(counts)] * counts[cells % len(counts)])
    free = (len(sizes) - 1) * (len(counts) - 1)
    return len(labels) * (shares.sum().item() - 1) > free + 4 * math.sqrt(2 * free) + 1e-6  # rounding, where there is one class


def mixed(rows, labels: list[int]) -> list[int]:
    """Numbers of a split's rows in an order whose first and last ones show all classes: as they lie, or, of rows that lie class
    after class, as folders of pictures do, drawn by class."""
    return by_class(labels) if rows.info.builder_name == "imagefolder" or in_blocks(labels) else list(range(len(rows)))


def taken(rows: list[int], count: int, labels: list[int]) -> list[int]:
    """The first `count` rows, but of each class one stays as long as there are others to take."""
    staying = set({labels[row]: row for row in rows}.values())
    return sorted(rows, key=staying.__contains__)[:count]


def divide(config, rows: list[int], labels: list[int], hold_out: bool) -> tuple[list[int], list[int], list[int]]:
    """Training rows, in the order of `mixed` -> those to train on, to choose on, and (when there is no test split) to measure on."""
    as_they_lie = rows == list(range(len(rows)))
    held_out = taken(drawn(len(rows)) if as_they_lie else rows, max(1, len(rows) // 10), labels) if hold_out else []
    left = set(rows).difference(held_out)
    if config.validation_images >= len(left):
        raise UserError(f"--validation-images {config.validation_images} leaves none of the {len(left)} training pictures")
    validation = taken([row for row in reversed(rows) if row in left], config.validation_images, labels)
    left.difference_update(validation)
    return sorted([row for row in rows if row in left][: config.max_train_images]), sorted(validation), held_out


def held_out_by(config, apart: list[list[int]], labels: list[int], hold_out: bool) -> str | None:
    """`Splits.held_out_by` of the rows `apart`, to choose on and to measure on."""
    by_rows = divide(config, list(range(len(labels))), [0] * len(labels), hold_out)
    return None if apart == list(by_rows[1:]) else hashlib.sha256(" ".join(map(str, labels)).encode()).hexdigest()
