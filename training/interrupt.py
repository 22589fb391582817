"""When to stop early: Ctrl-C, SIGTERM, a connection that drops, or a time limit. The step is finished and saved first; a second
signal leaves at once. And when to save in between: as often as the clock says."""

import os
import signal
import stat
import sys
import time
from contextlib import suppress

import torch

from vit_demo.commands import STOPPED

TOGETHER = 0.5  # seconds: a launcher passes on what the terminal has already sent, and the two are one wish
HANGUP = getattr(signal, "SIGHUP", None)  # a terminal that closes, a connection that drops; not on Windows


class Interrupt:
    """Handlers belong to the process: install this only while a run goes on, and `restore` the ones before."""

    def __init__(self, accelerator, minutes: float, started: float, save_minutes: float = 0.0):
        self.accelerator, self.limit = accelerator, started + 60 * minutes if minutes else float("inf")
        self.between = 60 * save_minutes or float("inf")
        self.first: float | None = None  # when the first signal came
        self.earlier: torch.Tensor | None = None  # how many processes wished to stop, and to save, one question ago
        self.saved()
        self.process = os.getpid()
        hangup = [HANGUP] if HANGUP and signal.getsignal(HANGUP) != signal.SIG_IGN else []  # nohup has it ignored
        self.previous = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM, *hangup)}

    def handle(self, number, frame) -> None:
        if os.getpid() != self.process:
            return  # a worker that took the handlers over: the run still needs it for its step
        if self.first is None:
            self.first = time.monotonic()
            try:
                os.write(2, b"\nfinishing the step and saving; once more leaves at once\n")
            except OSError:  # Ctrl-C ended what reads the pipe, as in `2>&1 | tee log`
                fall_silent()
        elif number != HANGUP and time.monotonic() - self.first > TOGETHER:  # nobody is there to hang up twice: shells and launchers do
            os._exit(STOPPED)
        if number == HANGUP:
            fall_silent()

    def asked(self) -> tuple[bool, bool]:
        """(whether to stop now, whether the clock says to save). All processes ask after every step, and get the same answers at the
        same step; the clock is the main one's."""
        now = time.monotonic()
        here = self.first is not None or now > self.limit, self.accelerator.is_main_process and now > self.due
        if self.accelerator.num_processes == 1:
            return here
        wishes = self.accelerator.reduce(torch.tensor(here, dtype=torch.float32, device=self.accelerator.device), "sum")
        earlier, self.earlier = self.earlier, wishes  # read a step later, so that a GPU is never waited for
        stop, save = earlier.tolist() if earlier is not None else (0, 0)
        return stop > 0, save > 0

    def saved(self) -> None:
        """All processes have just saved: the clock begins anew, and the wish for it of this step is fulfilled."""
        self.due = time.monotonic() + self.between
        if self.earlier is not None:
            self.earlier[1] = 0

    def restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def fall_silent() -> None:
    """A terminal that hung up, and a pipe whose reader went with it, take no more words: the next one would be an error, and the
    end before anything is saved. A log file goes on."""
    with suppress(OSError):
        for stream in (1, 2):
            if not stat.S_ISREG(os.fstat(stream).st_mode):
                to_nowhere(stream)


def to_nowhere(stream: int) -> None:
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), stream)


def tell(accelerator, line: str) -> None:
    """A line of the run, on stdout. That nobody takes it there any more, as when Ctrl-C ended the `tee` of `| tee log` too, is no
    error, which would cost what is not saved yet: this line and those after it go where stderr goes."""
    if not accelerator.is_local_main_process:
        return
    try:
        print(line, flush=True)
    except OSError:
        to_nowhere(1)
        sys.stdout.flush()  # what it still holds would be the next error
        os.dup2(2, 1)
        try:
            print(line, flush=True)
        except OSError:  # `2>&1 | tee log`
            to_nowhere(1)
            to_nowhere(2)
