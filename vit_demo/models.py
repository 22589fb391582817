"""Which model answers: the one there at the start at once, others when they have been loaded in the background."""

import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from vit_demo import classifier
from vit_demo.classifier import Classifier
from vit_demo.errors import Unreachable, UserError
from vit_demo.turns import take

KEPT = 2  # loaded models beside the one that answers by default
AT_ONCE = 2  # models being loaded at the same time for visitors
AGAIN = (5, 15, 60, *[300] * 10)  # seconds after which the Hub is asked again for the model that the app was started with
NEWS_SECONDS = 600  # between two questions to the Hub whether a model has a newer version
UNFORESEEN = "could not be opened; check its name, or look at the server's log"


@dataclass(eq=False)
class Loading:
    """One model on its way, and what is known of it once it is here. `done` is set when either `classifier` or
    `problem` is."""

    source: str
    token: bool | None = None  # None: the server's own; False: none, which is what a visitor gets
    waiting: int = 0  # visitors who want it
    done: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    classifier: Classifier | None = None
    problem: str | None = None
    step: str = "asking for it"  # what it is doing just now
    share: float | None = None  # and how much of that is done
    newest: str | None = None  # the commit that the Hub leads to, when it was last asked
    asked: float = -math.inf  # when that was
    asking: bool = False

    def say(self, step: str, share: float | None = None) -> None:
        self.step, self.share = step, share

    def line(self) -> str:
        return self.problem or f"Loading {self.source}: {self.step}."

    @property
    def newer(self) -> str | None:
        """The commit on the Hub, where it is another than the one that is here."""
        here = self.classifier and self.classifier.revision
        return self.newest if here and self.newest and self.newest != here else None


class Models:
    """The models that this server holds. Bounded: the default one and at most KEPT more, the longest unused goes.

    `wanted` is what the person who started the app named: a folder is read before the page opens (a bad one is
    refused there), a model on the Hub arrives in the background while the bundled one answers.
    """

    def __init__(self, wanted: str | None = None, load: Callable[..., Classifier] = classifier.load,
                 newest: Callable[[str], str] = classifier.newest):
        self._load, self._newest, self._lock = load, newest, threading.Lock()
        self._kept: OrderedDict[str, Loading] = OrderedDict()
        self._loading: dict[str, Loading] = {}  # those that visitors wait for; one that they left may still have a place
        self._places = threading.Semaphore(AT_ONCE)  # each held by a thread: it hears a stop late where it reads weights
        self.wanted: Loading | None = None
        if wanted is None or os.path.isdir(wanted):
            self._default = load(wanted)
        else:
            try:
                self._default = load(None)
            except UserError:  # no bundled model in this copy: nothing can answer before the wanted one is here
                self._default = load(wanted)
                self.wanted = Loading(wanted, classifier=self._default)
                self.wanted.done.set()
            else:
                self.wanted = Loading(wanted)
                self._start(self.wanted)

    @property
    def default(self) -> Classifier:
        """What answers when a visitor has chosen nothing: the wanted model as soon as it is here."""
        return (self.wanted and self.wanted.classifier) or self._default

    def held(self, source: str | None) -> Loading | None:
        """What is known of a visitor's model while it is kept, else of the wanted one; None for what is not from the Hub."""
        with self._lock:
            if source in self._kept:
                self._kept.move_to_end(source)
                return self._kept[source]
        return self.wanted if self.wanted and self.wanted.classifier else None

    def get(self, source: str | None) -> Classifier:
        """A visitor's model while it is kept, else the default."""
        held = self.held(source)
        return held.classifier if held else self._default

    def fetch(self, source: str) -> Loading:
        """Begin to load a model for a visitor, or join those who wait for it already. Say leave() when it is done, or
        no longer wanted."""
        with self._lock:
            found = self._kept.get(source) or self._loading.get(source)
            if self.wanted and self.wanted.source == source and not self.wanted.problem:
                found = self.wanted
            if found is None:
                found = Loading(source, token=False)
                if len(self._loading) >= AT_ONCE:
                    found.problem = "Other models are being loaded just now: try again in a minute"
                    found.done.set()
                else:
                    self._loading[source] = found
                    self._start(found)
            found.waiting += 1
            return found

    def leave(self, loading: Loading) -> None:
        """A visitor waits no more. With the last one the download ends; the owner's goes on."""
        with self._lock:
            loading.waiting -= 1
            if not loading.waiting and self._loading.get(loading.source) is loading:
                del self._loading[loading.source]
                loading.stop.set()

    def look_for_newer(self, held: Loading | None) -> None:
        """Ask the Hub, in the background and not too often, which commit it leads to now."""
        with self._lock:
            if held is None or held.classifier is None or time.monotonic() < held.asked + NEWS_SECONDS:
                return
            held.asked, held.asking = time.monotonic(), True

        def ask() -> None:
            try:
                held.newest = self._newest(held.source)
            except UserError:  # no answer is no news
                pass
            finally:
                held.asking = False

        threading.Thread(target=ask, daemon=True, name=f"news of {held.source}").start()

    def _start(self, loading: Loading) -> None:
        threading.Thread(target=self._run, args=(loading,), daemon=True, name=f"loading {loading.source}").start()

    def _run(self, loading: Loading) -> None:
        opened, problem = None, None
        waits = iter(AGAIN if loading is self.wanted else ())
        while opened is None and problem is None:
            try:
                opened = self._load_in_turn(loading)
            except Unreachable as error:
                wait = next(waits, None)
                if wait is None:
                    problem = str(error)
                else:
                    if wait == AGAIN[0]:
                        logging.getLogger(__name__).warning("%s; it is asked for again, and the bundled model answers meanwhile", error)
                    loading.say(f"{str(error).removeprefix(f'{loading.source}: ')}; it is asked for again in {wait} s")
                    time.sleep(wait)
            except UserError as error:
                problem = str(error)
            except Exception:  # a stranger's model: whatever it does, the page stays, and shows no traceback
                problem = f"{loading.source} {UNFORESEEN}"
                logging.getLogger(__name__).exception("loading %s", loading.source)
        if problem and loading is self.wanted:  # the page says so too, but who started it may be looking here
            logging.getLogger(__name__).warning("%s; the bundled model answers", problem)
        with self._lock:
            loading.classifier, loading.problem = opened, problem
            if self._loading.get(loading.source) is loading:
                del self._loading[loading.source]
                if opened:
                    self._kept[loading.source] = loading
                    while len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
        loading.done.set()

    def _load_in_turn(self, loading: Loading) -> Classifier:
        def load() -> Classifier:
            return self._load(loading.source, token=loading.token, report=loading.say, stop=loading.stop)

        if loading is self.wanted:
            return load()
        if not self._places.acquire(blocking=False):
            loading.say("waiting until another has ended")
            take(self._places, loading.stop)
        try:
            return load()
        finally:
            self._places.release()
