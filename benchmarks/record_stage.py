"""A stage of the record run: one command, in a process and a folder of its own, that ends within its time.

Legend: a deadline is a time of `time.monotonic`.
"""

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from training import checkpoint, report
from vit_demo.commands import STOPPED
from vit_demo.errors import UserError

LEAST = 3.0  # minutes that a stage begins with: importing, reading and compiling take up to two of them
FINISHING = 1.0  # minutes before the deadline at which it is to stop by itself, and save
PACKING = 0.5  # minutes before the deadline at which it is made to stop, so that all can be packed
GRACE = 10.0  # seconds it then has to save
FAILED = "failed.txt"
SMALL = (report.METRICS_FILE, "README.md", "train.yaml", FAILED)


@dataclass(frozen=True)
class Stage:
    module: str
    folder: Path
    settings: dict
    may_fail: bool = False  # a candidate that fails is out of the choice, and the others go on

    @property
    def begun(self) -> bool:
        return (self.folder / "train.yaml").is_file()  # written once data and model were there

    @property
    def finished(self) -> bool:
        return (self.folder / "README.md").is_file()  # the last file that is written

    @property
    def failed(self) -> bool:
        return (self.folder / FAILED).is_file()

    @property
    def over(self) -> bool:
        return self.finished or self.failed

    @property
    def metrics(self) -> dict:
        return report.read_metrics(self.folder)

    def arguments(self, minutes: float) -> list[str]:
        elsewhere = {name: self.settings[name] for name in ("dataset", "model") if name in self.settings}  # they may lie elsewhere now
        flags = {"resume": True, **elsewhere} if self.begun else self.settings
        flags |= {"output": self.folder, "stop_after": round(minutes, 3)}
        return [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]

    def finish(self, deadline: float) -> bool:
        """Begin the stage or go on with it, unless it is over; False when its time is up, or too short to begin."""
        if self.over:
            return True
        minutes = (deadline - time.monotonic()) / 60
        if minutes < LEAST:
            return False
        code = perform(self.module, self.arguments(minutes - FINISHING), 60 * (minutes - PACKING))
        if code in (STOPPED, -signal.SIGTERM, -signal.SIGINT):
            return False
        if code > 0 and self.may_fail and self.begun:
            report.write_bytes(self.folder / FAILED, f"status {code}\n".encode())
            print(f"{self.folder.name} failed with status {code} and is out of the choice: see the lines above")
        elif code:
            raise UserError(f"{self.folder.name} failed with status {code}: see the lines above")
        return True

    def needed(self, whole: bool) -> list[Path]:
        """The files that the rest of the run reads: the newest state while it is under way; all results of a `whole` one, or the small ones."""
        if not self.over:
            state = checkpoint.newest_complete(self.folder / "state")
            return [path for path in (self.folder / "train.yaml", *(sorted(state.iterdir()) if state else [])) if path.is_file()]
        files = [path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.relative_to(self.folder).parts[0] != "state"]
        return files if whole else [path for path in files if path.name in SMALL]


def perform(module: str, arguments: list[str], seconds: float) -> int:
    """A process of its own, so that each stage begins with an empty device. What asks us to stop asks it, and after `seconds` it
    is asked as well: it saves and leaves, or is ended, and the state saved before counts."""
    print("+ python -m", module, *arguments, flush=True)
    process = subprocess.Popen([sys.executable, "-m", module, *arguments])
    earlier = {number: signal.signal(number, lambda number, frame: process.send_signal(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return STOPPED
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
