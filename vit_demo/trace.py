"""Trace: all that one forward pass computed on one picture, each thing named. Every chapter reads the same one.

Legend: L layers, H heads, T = N + 1 tokens (CLS first), N patches in reading order, D width, K classes, P patch side.
"""

import hashlib
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vit_demo import zero_gpu
from vit_demo.classifier import Classifier, on_lent_gpu
from vit_demo.explain.patches import model_grid, patchify
from vit_demo.images import open_picture


@dataclass(frozen=True, eq=False)
class Trace:
    """CPU tensors without a batch axis, float32."""

    image: Image.Image  # RGB, as it was given
    pixel_values: Tensor  # (3,rows*P,cols*P), what the processor made of it
    patches: Tensor  # (N,3,P,P)
    patch_embeddings: Tensor  # (N,D), patches times the projection
    embeddings: Tensor  # (T,D), with the class token in front and the positions added
    attentions: Tensor  # (L,H,T,T), rows sum to 1
    hidden_states: Tensor  # (L+1,T,D), the residual stream: [0] the embeddings, [l] after layer l, before the last norm
    logits: Tensor  # (K,)
    grid: tuple[int, int]  # (rows, columns) of patches

    @property
    def nbytes(self) -> int:
        """Of memory, the picture's 4 bytes a pixel included; `embeddings` lies inside `hidden_states`."""
        tensors = (self.pixel_values, self.patches, self.patch_embeddings, self.attentions, self.hidden_states, self.logits)
        return sum(tensor.nbytes for tensor in tensors) + 4 * self.image.width * self.image.height


def trace(classifier: Classifier, image: Image.Image) -> Trace:
    """One forward pass of the viewing model over one picture."""
    return _lent_pass(classifier.files, image) if zero_gpu.borrows(classifier.model) else _one_pass(classifier, image)


@zero_gpu.lent
def _lent_pass(files: Path, image: Image.Image) -> Trace:
    return _one_pass(on_lent_gpu(files), image)


@torch.no_grad()
def _one_pass(classifier: Classifier, image: Image.Image) -> Trace:
    model = classifier.viewing
    pixel_values = classifier.pixel_values([image]).to(model.device)
    output = model(pixel_values, output_attentions=True, output_hidden_states=True)
    if len(output.attentions) != model.config.num_hidden_layers:  # other attention code than eager returns none
        raise RuntimeError(f"the model returned {len(output.attentions)} attention maps for "
                           f"{model.config.num_hidden_layers} layers; its attention must be eager")
    hidden_states = torch.cat(output.hidden_states).cpu()
    return Trace(
        image=image.convert("RGB"),
        pixel_values=pixel_values[0].cpu(),
        patches=patchify(pixel_values[0].cpu(), model.config.patch_size),
        patch_embeddings=model.vit.embeddings.patch_embeddings(pixel_values)[0].cpu(),
        embeddings=hidden_states[0],
        attentions=torch.cat(output.attentions).cpu(),
        hidden_states=hidden_states,
        logits=output.logits[0].cpu(),
        grid=model_grid(model),
    )


class TraceCache:
    """The latest traces, up to so many bytes in all, shared by all visitors."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._traces: OrderedDict[tuple, tuple[weakref.ref[Classifier], Trace]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return sum(kept.nbytes for _, kept in self._traces.values())

    def trace(self, classifier: Classifier, file: bytes) -> Trace:
        """The kept trace of this very file and model, or a new one. Raises UserError for what is no readable picture."""
        key = id(classifier), hashlib.sha256(file).digest()
        with self._lock:
            owner, kept = self._traces.get(key, (None, None))
            if owner is not None and owner() is classifier:  # an id comes back once its owner is gone
                self._traces.move_to_end(key)
                return kept
        kept = trace(classifier, open_picture(file))  # outside the lock: at worst two visitors compute the same
        if kept.nbytes > self.most_bytes:  # it would push all others out, and then itself
            return kept
        with self._lock:
            self._traces[key] = weakref.ref(classifier), kept
            while self.nbytes > self.most_bytes:
                self._traces.popitem(last=False)
        return kept
