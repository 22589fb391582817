"""When to stop early: Ctrl-C, SIGTERM or a time limit. The step is finished and saved first; a second signal leaves at once."""

import os
import signal
import time

import torch

from vit_demo.commands import STOPPED

TOGETHER = 0.5  # seconds: a launcher passes on what the terminal has already sent, and the two are one wish


class Interrupt:
    """Handlers belong to the process: install this only while a run goes on, and `restore` the ones before."""

    def __init__(self, accelerator, minutes: float, started: float):
        self.accelerator, self.limit = accelerator, started + 60 * minutes if minutes else float("inf")
        self.first: float | None = None  # when the first signal came
        self.earlier: torch.Tensor | None = None  # how many processes wished to stop one question ago
        self.previous = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(self, number, frame) -> None:
        if self.first is None:
            self.first = time.monotonic()
            os.write(2, b"\nfinishing the step and saving; once more leaves at once\n")
        elif time.monotonic() - self.first > TOGETHER:
            os._exit(STOPPED)

    def asked(self) -> bool:
        """Whether to stop now. All processes ask after every step, and get the same answer at the same step."""
        here = self.first is not None or time.monotonic() > self.limit
        if self.accelerator.num_processes == 1:
            return here
        wishes = self.accelerator.reduce(torch.tensor(float(here), device=self.accelerator.device), "sum")
        earlier, self.earlier = self.earlier, wishes  # read a step later, so that a GPU is never waited for
        return earlier is not None and earlier.item() > 0

    def restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
