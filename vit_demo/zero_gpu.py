"""ZeroGPU: a Space may borrow a GPU for the length of a call. Where the package `spaces` is there, large models do so
in their forward passes; everywhere else nothing changes. https://huggingface.co/docs/hub/spaces-zerogpu"""

import os
from collections.abc import Callable

try:
    from spaces import GPU
except ImportError:
    GPU = None

LARGE = 20_000_000  # parameters; a smaller model has answered before a GPU is there
SECONDS = 15  # that a call may take: the shorter, the sooner it gets one
ZERO = "SPACES_ZERO_GPU"  # set where GPUs are lent


def lent(function: Callable) -> Callable:
    """`function` with a GPU while it runs. It then runs in another process, which may have been started before this
    one opened a model: it takes and returns small things and tensors in memory."""
    return GPU(duration=SECONDS)(function) if GPU else function


def borrows(model) -> bool:
    return GPU is not None and model.num_parameters() >= LARGE


def place(*models) -> None:
    """Onto the GPU, in the process that got one."""
    if os.environ.get(ZERO):
        for model in models:
            model.to("cuda")
