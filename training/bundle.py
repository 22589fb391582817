"""Put a trained folder into the app as its bundled model: the same files, weights in float16, state left out.

    python -m training.bundle runs/tiny-cpu

Snapshots of its training go along, so that the app shows the time-lapse with no network. `--film` makes a folder with
snapshots the small model that is shown learning beside models that bring none.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import torch
from PIL import Image
from transformers import ViTForImageClassification
from transformers.utils import logging

from training import checkpoint
from training.product import SNAPSHOTS, check_folder, need_snapshots, product_files, snapshots_of
from vit_demo import commands
from vit_demo.classifier import BUNDLED, load
from vit_demo.errors import UserError
from vit_demo.samples import SAMPLES
from vit_demo.snapshots import CARRIED

MOST_BYTES = 12_000_000
MOST_OF_SNAPSHOTS = 20_000_000  # bytes of all of them: whoever clones the repository fetches them
WEIGHTS = ("config.json", "model.safetensors")


def copied(folder: Path) -> dict[str, Path]:
    """Name -> file of what is copied as it is. Raises UserError when the snapshots are too large."""
    snapshots = {f"{SNAPSHOTS}/{path.name}/{name}": path / name for path in snapshots_of(folder) for name in WEIGHTS}
    size = sum(path.stat().st_size for path in snapshots.values())
    if size > MOST_OF_SNAPSHOTS:
        raise UserError(f"{folder}: {size / 1e6:.1f} MB of snapshots; the app carries at most {MOST_OF_SNAPSHOTS / 1e6:.0f} MB: take some out of {SNAPSHOTS}/")
    return {name: path for name, path in product_files(folder).items() if name not in WEIGHTS} | snapshots


def bundle(folder: Path, target: Path = BUNDLED) -> str:
    """Replaces `target` -> a line about what changed. Raises UserError when the model is too large or float16 changes an answer."""
    original = check_folder(folder)
    with tempfile.TemporaryDirectory(dir=target.parent) as aside:
        small = Path(aside) / "bundled"
        ViTForImageClassification.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).half().save_pretrained(small)
        for name, path in copied(folder).items():
            (small / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, small / name)
        checkpoint.readable_as(small / "model.safetensors", small / "config.json")
        size = (small / "model.safetensors").stat().st_size
        if size > MOST_BYTES:
            raise UserError(f"{folder}: {size / 1e6:.1f} MB in float16; the app carries at most {MOST_BYTES / 1e6:.0f} MB")
        images = [Image.open(path).convert("RGB") for path, *_ in SAMPLES]
        before, after = original.logits(images).softmax(1), load(small).logits(images).softmax(1)
        if not torch.equal(before.argmax(1), after.argmax(1)):
            raise UserError(f"{folder}: float16 changes an answer on the samples")
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(small, target)
    moved = (before - after).abs().max()
    return f"{original.name} is bundled: {size / 1e6:.1f} MB; float16 moves a probability by at most {moved:.1e} on {len(images)} samples"


def main(argv: list[str] | None = None) -> None:
    """As the command line says. Raises UserError with one line."""
    logging.disable_progress_bar()
    parser = argparse.ArgumentParser(prog="python -m training.bundle", description="Make a trained folder the model that the app carries and starts with.")
    parser.add_argument("folder", type=Path, help="an output folder of training.train")
    parser.add_argument("--film", action="store_true", help="make it the model that is shown learning beside models without snapshots")
    args = parser.parse_args(argv)
    if args.film:
        need_snapshots(args.folder)
    print(bundle(args.folder, CARRIED if args.film else BUNDLED))


def cli() -> None:
    commands.cli(main)


if __name__ == "__main__":
    cli()
