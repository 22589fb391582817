"""Which model answers: the one there at the start at once, others when they have been loaded in the background."""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from vit_demo import classifier
from vit_demo.classifier import Classifier
from vit_demo.errors import UserError

KEPT = 2  # loaded models beside the one that answers by default
AT_ONCE = 2  # models being loaded at the same time
UNFORESEEN = "could not be opened; check its name, or look at the server's log"


@dataclass(eq=False)
class Loading:
    """One model on its way. `done` is set when either `classifier` or `problem` is."""

    source: str
    token: bool | None = None  # None: the server's own; False: none, which is what a visitor gets
    since: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    classifier: Classifier | None = None
    problem: str | None = None
    step: str = ""  # what it is doing just now

    def say(self, step: str) -> None:
        self.step = step

    def line(self) -> str:
        if self.problem:
            return self.problem
        if self.classifier:
            return f"{self.source} is here."
        return f"Loading {self.source}, {time.monotonic() - self.since:.0f} s: {self.step or 'asking for it'}"


class Models:
    """The models that this server holds. Bounded: the default one and at most KEPT more, the longest unused goes.

    `wanted` is what the person who started the app named: a folder is read before the page opens (a bad one is
    refused there), a model on the Hub arrives in the background while the bundled one answers.
    """

    def __init__(self, wanted: str | None = None, load: Callable[..., Classifier] = classifier.load):
        self._load, self._lock = load, threading.Lock()
        self._kept: OrderedDict[str, Classifier] = OrderedDict()
        self._loading: dict[str, Loading] = {}
        self.wanted: Loading | None = None
        if wanted is None or os.path.isdir(wanted):
            self._default = load(wanted)
        else:
            try:
                self._default = load(None)
            except UserError:  # no bundled model in this copy: nothing can answer before the wanted one is here
                self._default = load(wanted)
            else:
                self.wanted = self.fetch(wanted)

    @property
    def default(self) -> Classifier:
        """What answers when a visitor has chosen nothing: the wanted model as soon as it is here."""
        return (self.wanted and self.wanted.classifier) or self._default

    def get(self, source: str | None) -> Classifier:
        """A visitor's model while it is kept, else the default."""
        with self._lock:
            if source not in self._kept:
                return self.default
            self._kept.move_to_end(source)
            return self._kept[source]

    def fetch(self, source: str, token: bool | None = None) -> Loading:
        """Begin to load a model, or join whoever is loading it already."""
        with self._lock:
            if source in self._loading:
                return self._loading[source]
            loading = Loading(source, token)
            if source in self._kept:
                loading.classifier = self._kept[source]
                loading.done.set()
            elif len(self._loading) >= AT_ONCE:
                loading.problem = "Other models are being loaded just now: try again in a minute."
                loading.done.set()
            else:
                self._loading[source] = loading
                threading.Thread(target=self._run, args=(loading,), daemon=True, name=f"loading {source}").start()
            return loading

    def _run(self, loading: Loading) -> None:
        try:
            opened, problem = self._load(loading.source, token=loading.token, report=loading.say), None
        except UserError as error:
            opened, problem = None, str(error)
        except Exception:  # a stranger's model: whatever it does, the page stays, and shows no traceback
            opened, problem = None, f"{loading.source} {UNFORESEEN}"
            logging.getLogger(__name__).exception("loading %s", loading.source)
        with self._lock:
            if opened:
                self._kept[loading.source] = opened
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            loading.classifier, loading.problem = opened, problem
            del self._loading[loading.source]
        loading.done.set()

