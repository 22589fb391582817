"""A visitor's place on the page, and what they look at from there."""

from dataclasses import dataclass, replace

from vit_demo.chapters.scene import UPLOAD, Look
from vit_demo.classifier import Classifier
from vit_demo.samples import FIRST, SAMPLES
from vit_demo.trace import TraceCache

MOST = 999  # layers or heads that a browser may name; a chapter holds them within the model's


@dataclass(frozen=True)
class Visit:
    """Where a visitor is. A picture of their own is kept as the bytes of its file."""

    sample: int | None = FIRST
    upload: bytes | None = None
    chapter: int = 1
    layer: int | None = None  # from 0; None while the visitor has chosen none
    head: int | None = None
    source: str | None = None  # the model they chose; None: the page's own
    shown: str | None = None  # name and revision of the model that answered last

    @classmethod
    def from_address(cls, query: dict, chapters: int) -> "Visit":
        """?sample=&chapter=&layer=&head=; what makes no sense is left at its default."""
        def asked(name: str, first: int, last: int) -> int | None:
            text = str(query.get(name, ""))
            return int(text) if text.isdecimal() and len(text) < 5 and first <= int(text) <= last else None

        layer, head = (asked(name, 1, MOST) for name in ("layer", "head"))
        sample = asked("sample", 0, len(SAMPLES) - 1)
        return cls(sample=FIRST if sample is None else sample, chapter=asked("chapter", 1, chapters) or 1,
                   layer=layer and layer - 1, head=head and head - 1)

    def at(self, **change) -> "Visit":
        return replace(self, **change)


def look_at(visit: Visit, classifier: Classifier, traces: TraceCache) -> Look:
    """Raises UserError for an upload that is no readable picture."""
    if visit.upload is not None:
        picture, file, truth = visit.upload, UPLOAD, None
    else:
        path, _, truth = SAMPLES[visit.sample]
        picture, file = path.read_bytes(), f"vit_demo/samples/{path.name}"
    return Look(classifier, traces.trace(classifier, picture), visit.layer, visit.head, file, truth)
