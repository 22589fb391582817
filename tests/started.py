"""Programs started as a person starts them, in a process of their own, and asked over HTTP."""

import contextlib
import socket
import subprocess
import time
from pathlib import Path

import httpx

from tests.served import call, upload


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


@contextlib.contextmanager
def started(words: list[str], folder: Path, environment: dict[str, str], log: Path):
    """The running program; ended at the end. What it says is in `log`."""
    with log.open("w") as out, subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=out) as program:
        try:
            yield program
        finally:
            program.terminate()


def says(program: subprocess.Popen, log: Path, wanted: str, seconds: float = 120) -> str:
    """All it has said, once `wanted` is among it."""
    deadline = time.monotonic() + seconds
    while wanted not in log.read_text() and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert wanted in log.read_text(), log.read_text()
    return log.read_text()


def answer(program: subprocess.Popen, address: str, picture: Path, k: int, labels: set[str], seconds: float = 300) -> dict:
    """What /predict says, once the model has taken over that has these labels alone."""
    deadline, told = time.monotonic() + seconds, {}
    while not (told and set(told) <= labels) and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.3)
        with contextlib.suppress(httpx.TransportError):  # not listening yet
            told = call(address, "predict", upload(address, picture.name, picture.read_bytes()), k)[1]
    return told
