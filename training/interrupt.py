"""Ctrl-C and SIGTERM: the first asks, and the step is finished and saved; the second leaves at once."""

import os
import signal

STOPPED = 130  # the exit status of a run that was asked to stop


class Interrupt:
    """`requested` becomes true at the first signal. Install it only while a run goes on: handlers are the process's."""

    def __init__(self):
        self.requested = False
        self.previous = {number: signal.signal(number, self.handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(self, number, frame) -> None:
        if self.requested:
            os._exit(STOPPED)
        self.requested = True
        os.write(2, b"\nfinishing the step and saving; once more leaves at once\n")

    def restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
