"""Where a run stands, and the bar that shows it."""

import time
from dataclasses import dataclass, field

import torch
from tqdm.auto import tqdm

from training.config import TrainConfig
from training.loop import Step


@dataclass
class Progress:
    """Saved with the state of a run."""

    step: int = 0  # optimiser steps done
    seconds: float = 0.0  # spent in steps; validation and saving are not counted
    history: list[dict] = field(default_factory=list)  # one entry an epoch
    best: float = -1.0
    best_epoch: int = -1
    epoch_loss: float = 0.0  # sums over the steps of the unfinished epoch, and over all processes
    epoch_correct: float = 0.0
    epoch_steps: int = 0
    devices: list[str] = field(default_factory=list)  # what the steps were done on, one after the other; empty in older states

    def on(self, device: str) -> None:
        """The next steps are done there."""
        if self.devices[-1:] != [device]:
            self.devices.append(device)


class Meter:
    """Adds up an epoch on the device and reads it about twice a second, not every step."""

    def __init__(self, progress: Progress, config: TrainConfig, epoch: int, steps_an_epoch: int, accelerator):
        self.progress, self.config, self.accelerator = progress, config, accelerator
        self.steps_an_epoch, processes = steps_an_epoch, accelerator.num_processes
        self.loss, self.correct, self.steps = progress.epoch_loss / processes, progress.epoch_correct / processes, progress.epoch_steps
        self.answers = True  # whether there is something to be right about
        self.last = self.shown = time.monotonic()
        self.bar = tqdm(total=steps_an_epoch, initial=progress.step % steps_an_epoch, desc=f"epoch {epoch + 1}/{config.epochs}", unit="step",
                        disable=not accelerator.is_main_process)

    def add(self, step: Step) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.last
        self.progress.step = step.number + 1
        self.loss, self.steps, self.answers = self.loss + step.loss, self.steps + 1, step.correct is not None
        if self.answers:
            self.correct = self.correct + step.correct
        self.bar.update()
        if now - self.shown > 0.5:
            self.shown = now
            self.show()
        self.last = time.monotonic() if step.loss.device.type == "cpu" else now  # reading a GPU waits for its step

    def show(self) -> None:
        speed = self.progress.step * self.config.batch_size / max(self.progress.seconds, 1e-9)
        done = self.work(self.progress.step)
        left = self.progress.seconds * (self.work(self.steps_an_epoch * self.config.epochs) - done) / max(done, 1e-9)
        processes = self.accelerator.num_processes  # the bar shows the main one's share
        totals = self.means(float(self.loss) * processes, float(self.correct) * processes)
        accuracy = f"accuracy {totals['train_accuracy']:.1%}, " if self.answers else ""
        self.bar.set_postfix_str(f"loss {totals['train_loss']:.3f}, {accuracy}{speed:.0f} images/s, {clock(left)} left in all")

    def work(self, steps: int) -> float:
        """What the first this many steps cost, in steps with all patches: nearly in proportion to the patches that each sees."""
        epoch, more = divmod(steps, self.steps_an_epoch)
        shares = [1 - self.config.patches_dropped(before) for before in range(epoch + 1)]
        return sum(shares[:-1]) * self.steps_an_epoch + shares[-1] * more

    def means(self, loss: float, correct: float) -> dict:
        """Sums over steps and processes -> mean loss and accuracy of the epoch so far (on mixed, augmented pictures)."""
        steps = max(1, self.steps)
        accuracy = {"train_accuracy": correct / (steps * self.config.batch_size)} if self.answers else {}
        return {"train_loss": loss / (steps * self.accelerator.num_processes), **accuracy}

    def sums(self) -> tuple[float, float]:
        """Loss and right answers over all processes: each of them has to ask at the same time."""
        mine = torch.stack([torch.as_tensor(value, dtype=torch.float32, device=self.accelerator.device) for value in (self.loss, self.correct)])
        return tuple(self.accelerator.reduce(mine, "sum").tolist())

    def keep(self) -> None:
        """Write the running sums into the progress, so that a state saved in mid-epoch has them."""
        self.progress.epoch_loss, self.progress.epoch_correct = self.sums()
        self.progress.epoch_steps = self.steps

    def saved(self) -> None:
        """What went by since the last step was no step."""
        self.last = time.monotonic()

    def close(self) -> dict:
        sums = self.sums()  # waits for a GPU's last step, which counts too
        self.progress.seconds += time.monotonic() - self.last
        self.bar.close()
        self.progress.epoch_loss, self.progress.epoch_correct, self.progress.epoch_steps = 0.0, 0.0, 0
        return self.means(*sums)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
