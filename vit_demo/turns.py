"""Waiting for one's turn, and hearing meanwhile that nobody waits for it any more."""

import math
import threading
import time

from vit_demo.errors import Stopped

HEARD = 0.1  # seconds until a stop is heard by what waits


def take(places: threading.Semaphore, stop: threading.Event, patience: float = math.inf) -> bool:
    """Take one of the places, which the caller gives back, as soon as there is one; False: not for so many seconds. Raises Stopped."""
    deadline = time.monotonic() + patience
    while not stop.is_set():
        if places.acquire(timeout=min(HEARD, patience)):
            return True
        if time.monotonic() > deadline:
            return False
    raise Stopped
