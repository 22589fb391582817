"""From a pretrained masked autoencoder to its folder: weights, loss, a sheet of what it fills in, and a short card.

Legend: B batch, N patches.
"""

import shlex
from pathlib import Path

import torch

from training import figures, outcome, report
from training.card_words import duration
from training.command_line import FINE_TUNE
from training.config import TrainConfig, read_preset
from training.draws import seed_for
from training.masked import filled_in, seen_patches
from training.run import Run

SHOWN = 8  # pictures on the sheet


def masked(run: Run, images, first: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures first, first + 1, … as the processor makes them (B,3,H,W), and noise (B,N) that hides the same patches each time
    (those of the least are seen); on the device."""
    pixel_values = run.processor(report.pictures(images[first : first + count]), return_tensors="pt").pixel_values
    patches = run.model.vit.embeddings.patch_embeddings.num_patches
    noise = torch.rand(len(pixel_values), patches, generator=torch.Generator().manual_seed(seed_for("hidden", run.config.seed, first)))
    return pixel_values.to(run.accelerator.device), noise.to(run.accelerator.device)


@torch.no_grad()
def unseen_loss(run: Run, images, batch: int = 100) -> float:
    """Mean loss on pictures that were not learned from: uint8 (M,3,H,W) or M PIL pictures, through the written processor."""
    total = 0.0
    for first in range(0, len(images), batch):
        pixel_values, noise = masked(run, images, first, batch)
        total += len(pixel_values) * run.model(pixel_values=pixel_values, noise=noise).loss.item()
    return total / len(images)


def sheet(run: Run, images):
    """A few pictures as a figure: what was seen of each, what was filled in, and the picture itself."""
    pixel_values, noise = masked(run, images, 0, SHOWN)
    rows = dict(zip(("seen", "filled in", "the picture"), (*filled_in(run.model, pixel_values, noise), pixel_values), strict=True))
    mean, std = run.view.mean[:, None, None], run.view.std[:, None, None]
    return figures.reconstruction_sheet({name: ((row * std + mean) * 255).round().clamp(0, 255).byte() for name, row in rows.items()})


def finish(run: Run) -> None:
    """Write model, processor, metrics, a picture of what it fills in, and a short card. What is learned is measured by fine-tuning,
    so no accuracy is told."""
    weights = outcome.shipped_weights(run)
    outcome.write_weights(run.output, run.model, {name: w.half() for name, w in weights.items()} if run.config.half else weights, run.processor)
    run.model.eval()
    unseen = run.splits.held_out
    held_out = {"validation_reconstruction_loss": unseen_loss(run, unseen.pixels)} if unseen else {}
    metrics = {"reconstruction_loss": run.progress.history[-1]["train_loss"], **held_out, **outcome.conditions(run)}
    report.write_metrics(run.output, metrics)
    figures.save(sheet(run, (unseen or run.splits.train).pixels), run.output / figures.RECONSTRUCTIONS)
    report.write_bytes(run.output / "README.md", card(run, metrics).encode())
    run.accelerator.print(f"reconstruction loss {metrics['reconstruction_loss']:.4f}; fine-tune it with\n  {fine_tune(run.output, run.config.dataset, run.config, len(run.splits.train))}")


def fine_tune(model: Path | str, dataset: str, config: TrainConfig, pictures: int) -> str:
    """The command that does it, on the same so many pictures; `dataset`: what they are called where it is told."""
    preset = config.preset or FINE_TUNE
    recipe = read_preset(preset)
    words = ["--model", str(model), "--dataset", dataset]
    if preset != FINE_TUNE:
        words += ["--preset", preset]
    if "hidden_size" in recipe:  # for training from scratch
        words += ["--layer-decay", str(read_preset(FINE_TUNE)["layer_decay"])]
    if recipe.get("image_size") not in (None, config.image_size):
        words += ["--image-size", str(config.image_size)]
    if config.batch_size != type(config).batch_size or recipe["batch_size"] > pictures:
        words += ["--batch-size", str(config.batch_size)]  # this run had enough pictures for it
    if config.skip_bad:
        words += ["--skip-bad"]
    for name in ("dataset_config", "image_column", "train_split"):
        if (value := getattr(config, name)) != getattr(TrainConfig, name):
            words += [f"--{name.replace('_', '-')}", value]
    return f"python -m training.train {shlex.join(words)} --output runs/vit"


def card(run: Run, metrics: dict) -> str:
    config, encoder, name = run.config, run.model.config, run.output.resolve().name
    data, held_out = metrics["dataset"], metrics.get("validation_reconstruction_loss")
    unseen = f"; on {len(run.splits.held_out):,} pictures that it did not learn from {held_out:.4f}" if held_out else ""
    normalised = f" (each patch normalised: to guess the mean would be {1 - 1 / (3 * encoder.patch_size ** 2):.2f})" if config.normalise_pixels else ""
    begun, (seen, whole) = begun_from(metrics), seen_patches(run.model)
    which = "that it did not learn from" if held_out else "from the training"
    return f"""---
license: apache-2.0
library_name: transformers
tags: [vit_mae, masked-autoencoder, vit-demo]
---

# {name}

A Vision Transformer that was pretrained by masked autoencoding (He et al. 2021, [arXiv:2111.06377](https://arxiv.org/abs/2111.06377)):
{whole - seen} of a picture's {whole} patches are hidden, and the model fills them in. It has seen no label and gives no answer before it is fine-tuned:

```
{fine_tune(name, data['name'], config, data['train_images'])}
```

- Encoder: {encoder.image_size} px, patches of {encoder.patch_size} px, {encoder.num_hidden_layers} layers, width {encoder.hidden_size}.
{begun}- Data: {data['train_images']:,} pictures of `{data['name']}`, split {data['train_split']}; the pictures of other splits were not read.
- Trained for {metrics['epochs']} epochs{' more' if begun else ''}, {duration(metrics['seconds'])} on {metrics['device']}; last epoch's loss on hidden pixels: {metrics['reconstruction_loss']:.4f}{unseen}{normalised}.
- Its accuracy after fine-tuning was not measured here.

![Pictures with patches hidden, as they were filled in, and as they are]({figures.RECONSTRUCTIONS})

Pictures {which}: what the encoder sees, what is filled in{', with each patch’s true mean and spread put back' if config.normalise_pixels else ''}, and the pictures themselves.

```
{metrics['command']}
```
"""


def begun_from(metrics: dict) -> str:
    """A line of the card: whose weights it went on from, and by which commands of ours."""
    begun = [f"`{metrics['base_model']}`, whose licence applies as well"] if metrics["base_model"] else []
    begun += [f"{run['epochs']} epochs of `{run['command']}`" for run in metrics["earlier"]]
    return f"- Went on from {'; then '.join(begun)}.\n" if begun else ""
