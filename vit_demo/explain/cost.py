"""What attention costs: it compares every token with every token, so halving the patch side means about 16 times the pairs.

For 224 px and 16 px patches: 196 patches, 197 tokens, 197^2 = 38,809 pairs, against 224^4 = 2,517,630,976 for pixels.
Legend: S picture side, P patch side, N patches, T = N + 1 tokens, D width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import NamedTuple


Size = int | Sequence[int]  # a square's side, or height and width, in pixels


def _height_and_width(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def patch_count(image_size: Size, patch_size: Size) -> int:
    """Whole patches in a picture."""
    (height, width), (patch_height, patch_width) = _height_and_width(image_size), _height_and_width(patch_size)
    return (height // patch_height) * (width // patch_width)


def token_pairs(tokens: int) -> int:
    """Entries of one attention matrix."""
    return tokens**2


class Flops(NamedTuple):
    """Floating-point operations of one forward; a multiply and an add are two. Norms, softmax and GELU are left out."""

    embedding: int
    projections: int  # query, key, value and output
    attention: int  # q.k and weights x values: the part that grows with the square of the tokens
    mlp: int
    classifier: int

    @property
    def total(self) -> int:
        return sum(self)


def flops(config, image_size: Size | None = None, patch_size: Size | None = None) -> Flops:
    """A ViTConfig (its sizes may be replaced) -> operations for one picture."""
    image_size, patch_size = image_size or config.image_size, patch_size or config.patch_size
    patches, width, layers = patch_count(image_size, patch_size), config.hidden_size, config.num_hidden_layers
    tokens = patches + 1
    return Flops(
        embedding=2 * patches * config.num_channels * prod(_height_and_width(patch_size)) * width,
        projections=layers * 4 * 2 * tokens * width**2,
        attention=layers * 2 * 2 * token_pairs(tokens) * width,
        mlp=layers * 2 * 2 * tokens * width * config.intermediate_size,
        classifier=2 * width * config.num_labels,
    )


def measure(call: Callable[[], object], clock: Callable[[], float], repeats: int = 3) -> float:
    """Seconds of the fastest of `repeats` calls, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


class Timing(NamedTuple):
    """The cost of one patch size."""

    patch_size: int
    tokens: int
    pairs: int
    seconds: float
    measured: bool  # False: extrapolated


def timed(config, patch_size: int, forward: Callable[[], object], clock: Callable[[], float]) -> Timing:
    """A model shaped like config, but for its patch size, and a forward of it -> what that forward takes."""
    tokens = patch_count(config.image_size, patch_size) + 1
    return Timing(patch_size, tokens, token_pairs(tokens), measure(forward, clock), True)


def extrapolated(config, known: Timing, patch_size: int) -> Timing:
    """A Timing of the same config at another patch size -> the time that many more operations would take."""
    tokens = patch_count(config.image_size, patch_size) + 1
    growth = flops(config, patch_size=patch_size).total / flops(config, patch_size=known.patch_size).total
    return Timing(patch_size, tokens, token_pairs(tokens), known.seconds * growth, False)


def timings(
    config,
    patch_sizes: Iterable[int],
    forward: Callable[[int], Callable[[], object]],
    clock: Callable[[], float],
    max_tokens: int = 1025,
) -> Iterator[Timing]:
    """Time forward(patch_size)() up to max_tokens, few tokens first, one after the other; what is larger is extrapolated from the
    largest."""
    known = None
    for patch_size in sorted(patch_sizes, reverse=True):
        if patch_count(config.image_size, patch_size) < max_tokens:
            known = timed(config, patch_size, forward(patch_size), clock)
            yield known
        elif known is None:
            raise ValueError(f"no patch size gives at most {max_tokens} tokens: add a larger one")
        else:
            yield extrapolated(config, known, patch_size)
