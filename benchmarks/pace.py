"""Training images a second, measured alike for every contender: warm up, then blocks of steps, and the median block.

A GPU works behind the program's back, so each block ends by waiting for it.
"""

import statistics
import time

import torch

BLOCKS = 8  # the time that is asked for is cut into about this many
LEAST_BLOCKS = 5


class Pace:
    """Call `step()` after each optimiser step until it says that enough was measured; then read `images_per_second`."""

    def __init__(self, batch_size: int, seconds: float, device: torch.device, warm_up: int):
        self.batch_size, self.seconds, self.device, self.warm_up = batch_size, seconds, device, warm_up
        self.steps, self.block, self.blocks = 0, 0, []
        self.started = self.first = self.worked = 0.0

    def wait(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def step(self) -> bool:
        """True when it is enough."""
        self.steps += 1
        after = self.steps - self.warm_up  # steps since the warm-up
        if after == 0:
            self.first = self.started = self.wait()
            self.worked = time.process_time()
        elif after == 1:  # one step says how many make a block
            now = self.wait()
            self.block = max(1, round(self.seconds / BLOCKS / (now - self.started)))
            self.started, self.counted = now, 0
        elif after > 1:
            self.counted += 1
            if self.counted == self.block:
                now = self.wait()
                self.blocks.append(now - self.started)
                self.started, self.counted = now, 0
        return len(self.blocks) >= LEAST_BLOCKS and self.started - self.first >= self.seconds

    @property
    def images_per_second(self) -> float:
        return self.batch_size * self.block / statistics.median(self.blocks)

    @property
    def facts(self) -> dict:
        """How it was measured, for the results file. A thread that used less than a core shared it with something else, or waited for a GPU."""
        rates = [self.batch_size * self.block / block for block in self.blocks]
        busy = (time.process_time() - self.worked) / (time.perf_counter() - self.first)
        return {"images_per_second": self.images_per_second, "cores_used": round(busy, 2), "lowest": min(rates), "highest": max(rates),
                "blocks": len(self.blocks), "steps_a_block": self.block, "warm_up_steps": self.warm_up}
