"""Work above a second, told bit by bit: a function that reports (done, total) becomes something to iterate over.

Work that somebody left runs on to where it hears that. So that no heap of it grows, there are places for so many works at a time,
each held by the thread that works, for as long as it works.
"""

import queue
import threading
from collections.abc import Callable, Iterator

from torch import Tensor

from vit_demo.errors import Stopped
from vit_demo.explain.attribution import Attribution, patches_of
from vit_demo.explain.methods import Method
from vit_demo.turns import take


BEAT = 0.5  # seconds of silence after which the last word is said again: only between two words can anybody leave
PLACES = threading.Semaphore(4)  # as many as the page and programs ask at once: only what was left makes anybody wait


def told(work: Callable[[Callable[[int, int], None]], dict], stop: threading.Event | None = None,
         places: threading.Semaphore = PLACES) -> Iterator[dict]:
    """work(progress) -> {"progress": share} while it runs, or waits for a place, then what it returned. Leaving the iteration stops
    it: it sets `stop`, at which progress() raises Stopped; work that waits for others may look at it too."""
    heard, stop, share = queue.Queue(), stop or threading.Event(), 0

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise Stopped
        heard.put({"progress": done / total})

    def placed() -> dict:
        take(places, stop)
        try:
            return work(progress)
        finally:
            places.release()

    def run() -> None:
        try:
            heard.put({**placed(), "progress": 1})
        except Stopped:
            pass
        except BaseException as error:  # raised again where the work was asked for
            heard.put(error)

    threading.Thread(target=run, daemon=True, name="work of a chapter").start()
    try:
        while True:
            try:
                bit = heard.get(timeout=BEAT)
            except queue.Empty:
                bit = {"progress": share}
            while not heard.empty() and isinstance(bit, dict) and bit["progress"] < 1:
                bit = heard.get()  # only the newest counts
            if isinstance(bit, BaseException):
                raise bit
            share = bit["progress"]
            yield bit
            if bit["progress"] == 1 and len(bit) > 1:
                return
    finally:
        stop.set()


def attribution(method: Method, model, pixel_values: Tensor, wanted: Tensor, progress: Callable[[int, int], None]) -> Tensor | Attribution:
    """A map, with what it knows about itself; methods that take long say how far they are."""
    return method.find(model, pixel_values, wanted, **({"progress": progress} if method.slow else {}))


def heat_map(*given) -> Tensor:
    """(N,) of an attribution."""
    return patches_of(attribution(*given))
