"""What the explorer asks of a model beyond its weights, in two small files: extras.safetensors and extras.json.

- `energies` (Q,) float32, ascending: quantiles of -logsumexp(logits) on pictures the model never learned from, Q <= 1001.
  Where a visitor's picture falls among them says how far it is from all the classes. Liu et al. 2020, arXiv:2010.03759.
- `bank` (B,L,D) float16: the CLS token after each of L layers, scaled to length 1 so that a dot product is a cosine, of
  B training pictures, as many of each class; `bank_thumbnails` (B,3,32,32) uint8; `bank_labels` (B,) int64.

extras.json tells where they come from. Legend: M pictures, B pictures of the bank, K classes, L layers, D width.
"""

import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save
from torch.nn import functional as F
from tqdm.auto import tqdm

from training.report import pictures, write_bytes

TENSORS_FILE, FACTS_FILE = "extras.safetensors", "extras.json"
QUANTILES = 1001
BANK_PICTURES = 500
BANK_BYTES = 4_000_000
THUMBNAIL = 32


def write_extras(folder: Path, classifier, held_out_logits, train_images, train_labels, *, held_out: str, size: int = BANK_PICTURES, seed: int = 0) -> dict:
    """Writes both files -> what extras.json says.

    held_out_logits: (M,K) of pictures not learned from, named by `held_out` ("test", "validation");
    train_images: uint8 (M,3,H,W) or PIL pictures, from which the bank is chosen; train_labels: (M,); size: pictures in the
    bank, bounded by its bytes; 0 for no bank, since its thumbnails are published with the model."""
    energies = energy_quantiles(held_out_logits)
    facts = {"energies": {"split": held_out, "images": len(held_out_logits), "quantiles": len(energies)}}
    tensors = {"energies": energies}
    if size:
        train_labels = torch.as_tensor(train_labels).long().cpu()
        chosen = balanced(train_labels, min(size, bank_size(classifier.model.config)), seed)
        bank, thumbnails = feature_bank(classifier, [pictures(train_images[i : i + 1])[0] for i in chosen.tolist()])
        facts["bank"] = {"split": "train", "images": len(chosen), "layers": bank.shape[1], "rows": chosen.tolist(), "seed": seed}
        tensors |= {"bank": bank, "bank_thumbnails": thumbnails, "bank_labels": train_labels[chosen]}
    write_bytes(Path(folder) / TENSORS_FILE, save(tensors))
    write_bytes(Path(folder) / FACTS_FILE, (json.dumps(facts, indent=1) + "\n").encode())
    return facts


def bank_pictures(folder: Path) -> int:
    """How many training pictures lie in a folder's bank; what its user should know before others see them."""
    try:
        return json.loads((Path(folder) / FACTS_FILE).read_text("utf-8")).get("bank", {}).get("images", 0)
    except (OSError, ValueError, AttributeError):
        return 0


def energy_quantiles(logits: torch.Tensor, quantiles: int = QUANTILES) -> torch.Tensor:
    """(M,K) -> (Q,) ascending, Q = min(M, quantiles); first and last are the least and the greatest energy."""
    energies = -logits.detach().cpu().float().logsumexp(1)
    if len(energies) <= quantiles:
        return energies.sort().values
    return energies.quantile(torch.linspace(0, 1, quantiles))


def bank_size(config) -> int:
    """How many pictures fit: the wider and deeper the model, the fewer."""
    bytes_each = 2 * config.num_hidden_layers * config.hidden_size + 3 * THUMBNAIL**2 + 8
    return min(BANK_PICTURES, BANK_BYTES // bytes_each)


def balanced(labels: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """(M,) labels -> (B,) ascending rows, B = min(size, M); classes take turns, so the bank holds as many of each as there are."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    turn = torch.empty(len(labels), dtype=torch.long)
    for label in labels.unique():
        rows = order[labels[order] == label]
        turn[rows] = torch.arange(len(rows))
    return order[turn[order].argsort(stable=True)][:size].sort().values


@torch.no_grad()
def feature_bank(classifier, images: list[Image.Image], batch_size: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """B PIL pictures -> CLS after each layer (B,L,D) float16 of length 1, thumbnails (B,3,32,32) uint8."""
    model, features = classifier.model, []
    for start in tqdm(range(0, len(images), batch_size), desc="feature bank", unit="batch", disable=None):
        pixel_values = classifier.pixel_values(images[start : start + batch_size]).to(model.device)
        # hidden_states[0] is left out: before the first layer the CLS token is the same for every picture.
        hidden_states = model(pixel_values, output_hidden_states=True).hidden_states[1:]
        cls = torch.stack([hidden[:, 0] for hidden in hidden_states], dim=1)
        features.append(F.normalize(cls.float(), dim=-1).half().cpu())
    small = [image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX) for image in images]
    thumbnails = torch.stack([torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8) for picture in small])
    return torch.cat(features), thumbnails.reshape(-1, THUMBNAIL, THUMBNAIL, 3).permute(0, 3, 1, 2).contiguous()
