"""What training may leave beside a model for this page: energies of held-out pictures and a bank of features."""

from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

FILE = "extras.safetensors"
MOST_BYTES = 20_000_000


def extras(classifier) -> dict[str, Tensor]:
    """energies (Q,) ascending; bank (B,L,D), bank_thumbnails (B,3,32,32), bank_labels (B,). Nothing where a model has none
    that fits it."""
    config = classifier.model.config
    return _read(classifier.files / FILE, (config.num_hidden_layers, config.hidden_size), len(classifier.labels))


@lru_cache(maxsize=4)
def _read(file: Path, shape: tuple[int, int], classes: int) -> dict[str, Tensor]:
    try:
        if file.stat().st_size > MOST_BYTES:
            return {}
        found = load_file(file)
    except (OSError, SafetensorError):
        return {}
    good = {}
    if "energies" in found and found["energies"].ndim == 1 and len(found["energies"]):
        good["energies"] = found["energies"].float()
    bank, thumbnails, labels = (found.get(name) for name in ("bank", "bank_thumbnails", "bank_labels"))
    if None not in (bank, thumbnails, labels) and bank.ndim == 3 and tuple(bank.shape[1:]) == shape \
            and tuple(thumbnails.shape) == (len(bank), 3, 32, 32) and len(labels) == len(bank) \
            and 0 <= int(labels.min()) and int(labels.max()) < classes:
        good |= {"bank": bank, "bank_thumbnails": thumbnails, "bank_labels": labels}
    return good
