"""Training images a second, measured alike for every contender: warm up, then blocks of steps, and the median block.

A GPU works behind the program's back, so each block ends by waiting for it.
"""

import statistics
import time
from collections.abc import Iterator

import torch

BLOCKS = 8  # the time that is asked for is cut into about this many
LEAST_BLOCKS = 5


class Pace:
    """Call `step()` after each optimiser step until it says that enough was measured; then read `images_per_second`."""

    def __init__(self, batch_size: int, seconds: float, device: torch.device, warm_up: int):
        self.batch_size, self.seconds, self.device, self.warm_up = batch_size, seconds, device, warm_up
        self.steps, self.block, self.blocks, self.worked = 0, 0, [], 0.0
        self.resume()

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def resume(self) -> None:
        """Begin a block: the clocks start here."""
        self.counted, self.started, self.cpu = 0, self.now(), time.process_time()

    def elapsed(self) -> float:
        return self.now() - self.started

    def step(self) -> bool:
        """True when it is enough."""
        self.steps += 1
        self.counted += 1
        if self.steps <= self.warm_up:
            self.resume()
        elif self.steps == self.warm_up + 1:  # one step says how many make a block
            self.block = max(1, round(self.seconds / BLOCKS / self.elapsed()))
            self.resume()
        elif self.counted == self.block:
            self.blocks.append(self.elapsed())
            self.worked += time.process_time() - self.cpu
            self.resume()
        return self.enough

    @property
    def enough(self) -> bool:
        return len(self.blocks) >= LEAST_BLOCKS and sum(self.blocks) >= self.seconds

    @property
    def images_per_second(self) -> float:
        return self.batch_size * self.block / statistics.median(self.blocks)

    @property
    def facts(self) -> dict:
        """How it was measured, for the results file. A thread that used less than a core shared it with something else, or waited for a GPU."""
        rates = [self.batch_size * self.block / block for block in self.blocks]
        return {"images_per_second": self.images_per_second, "cores_used": round(self.worked / sum(self.blocks), 2), "lowest": min(rates), "highest": max(rates),
                "blocks": len(self.blocks), "steps_a_block": self.block, "warm_up_steps": self.warm_up}


def in_turns(contenders: list[tuple[Iterator, Pace]]) -> None:
    """A block of each in turn, until all have enough: what else the machine does meets them all alike. An iterator takes a step when asked."""
    while not all(pace.enough for _, pace in contenders):
        for steps, pace in contenders:
            done = len(pace.blocks)
            pace.resume()
            while len(pace.blocks) == done:
                next(steps)
                pace.step()
