"""What programs may ask the app, beside the page: everything checked, everything answered in plain numbers.

Pictures come as the bytes of a file. The docstrings are what /gradio_api/info tells.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from threading import Semaphore

from vit_demo import questions
from vit_demo.chapters import CHAPTERS
from vit_demo.chapters.scene import Look
from vit_demo.checks import is_number, shown
from vit_demo.draw import plain
from vit_demo.errors import UserError
from vit_demo.images import open_picture
from vit_demo.looks import Visit, look_at
from vit_demo.models import Models
from vit_demo.trace import TraceCache


@dataclass(frozen=True)
class Endpoints:
    models: Models
    traces: TraceCache

    def predict(self, picture: bytes | None, k: float | None = 5) -> dict:
        """The k likeliest classes of a picture with their probabilities, likeliest first. k is held within 1 and 1000."""
        k = min(k, 1000) if isinstance(k, (int, float)) and k == k else 5
        return dict(self.models.default.top_k(open_picture(picture), int(max(k, 1))))

    def scene(self, picture: bytes | None, chapter: float | None = 1, layer: float | None = 1, head: float | None = 1) -> dict:
        """One chapter (1 picture, 2 patches, 3 projection, 4 CLS and positions, 5 attention, 6 depth, 7 decision,
        8 experiments, 9 the model) about a picture: its title, story (HTML), equation (HTML), the numbers behind its
        drawing (data), and a check: transformers code, and the number that this code prints. layer and head, from 1, choose
        what chapter 5 looks at."""
        number = counted("chapter", chapter, len(CHAPTERS))
        config = self.models.default.model.config
        look = self._look(picture, counted("layer", layer, config.num_hidden_layers), counted("head", head, config.num_attention_heads))
        module = CHAPTERS[number - 1]
        return plain({"chapter": number, "name": module.NAME, "title": module.TITLE, **module.scene(look)})

    def answer(self, picture: bytes | None, chapter: float | None = 7, question: dict | None = None) -> dict:
        """What a chapter computes only when it is asked. question: 2 {"what": "time"}; 4 {"what": "jigsaw", "share",
        "seed", "positions"}, "curve", or "resize" with "size" (the longer side in pixels, one that the scene lists), "patch";
        5 {"what": "look", "layer", "token"} or "rollout" with "fusion", "discard";
        6 {"what": "cosines", "layer"} or "block" with "layer" from 1, "token"; 7 {"what": "map", "wanted", "against",
        "method"}, classes by name or number: what in the picture speaks for a class, one value a patch in reading order, by the
        method presence, shapley, occlusion, integrated gradients, chefer, cdam, gradcam, rollout or attention;
        8 "erase" or "reveal" with "kept", "heads" with "off", "each", "duel", "nearest" with "layer"; 9 {"what": "lapse",
        "open"}. Every word but what may be left out."""
        number = counted("chapter", chapter, len(CHAPTERS))
        look, last = self._look(picture), {}
        asked = questions.read(look, number, {} if question is None else question)
        for bit in CHAPTERS[number - 1].answer(look, asked):
            last = bit
        return plain({name: value for name, value in last.items() if name != "progress"})

    def _look(self, picture: bytes | None, layer: int = 1, head: int = 1) -> Look:
        if picture is None:
            open_picture(None)  # says that one is wanted
        return look_at(Visit(sample=None, upload=picture, layer=layer - 1, head=head - 1), self.models.default, self.traces)


class Line:
    """So many callers at once, and so many more that wait. Whoever comes then is told at once: a crowd of one would otherwise
    fill the queue in which the visitors of the page wait too."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._turns, self._room = Semaphore(at_once), Semaphore(at_once + waiting)

    @contextmanager
    def turn(self):
        if not self._room.acquire(blocking=False):
            raise UserError("too many programs ask at once: ask again in some seconds")
        try:
            with self._turns:
                yield
        finally:
            self._room.release()


def counted(name: str, value: object, most: int) -> int:
    """A whole number from 1 on; nothing given is the first."""
    value = 1 if value is None else value
    if not is_number(value) or value != int(value) or not 1 <= value <= most:
        raise UserError(f"{name} is a whole number from 1 to {most} here, not {shown(value)}")
    return int(value)
