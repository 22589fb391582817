"""Pretrain a ViT on pictures alone, by masked autoencoding; `training.train --model` fine-tunes what it writes.

    python -m training.pretrain --dataset uoft-cs/cifar10 --preset cifar-patch4 --epochs 400 --output runs/mae
    python -m training.train --dataset uoft-cs/cifar10 --preset cifar-patch4 --model runs/mae --layer-decay 0.75 --output runs/vit

Most patches of a picture are hidden; the encoder sees the rest, and a light decoder fills in the pixels. No label is
read, so the pictures need none, and no test picture is. He et al. 2021, arXiv:2111.06377. Legend: B batch, K classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from training import figures, outcome, report
from training.command_line import command, parse_config
from training.config import NO_TEST, TrainConfig, option, read_preset
from training.data import seed_for
from training.model import check_divisible, pretrained_config, read_weights
from training.run import Run, Task
from training.train import carry_out, cli
from vit_demo.errors import UserError

ARCHITECTURE = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
DECODER_HEAD = 32  # width of one of the decoder's heads
POSITIONS = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")  # (1,T,D), the class token's first
SHOWN = 8  # pictures on the sheet


@dataclass
class PretrainConfig(TrainConfig):
    """Settings of `python -m training.pretrain`. Of a preset it takes the architecture only."""

    MODULE: ClassVar[str] = "training.pretrain"
    DOES: ClassVar[str] = "Pretrain a Vision Transformer by masked autoencoding, on pictures without their labels."
    EXAMPLE: ClassVar[str] = "python -m training.pretrain --dataset uoft-cs/cifar10 --preset cifar-patch4 --epochs 400 --output runs/mae"
    WAYS: ClassVar[str] = "give --preset, the architecture to pretrain, or --model to go on from a masked autoencoder"
    SHAPE: ClassVar[tuple[str, ...]] = (*TrainConfig.SHAPE, "decoder_hidden_size", "decoder_layers")
    UNUSED: ClassVar[frozenset[str]] = frozenset({
        "label_column", "test_split", "train_last_blocks", "layer_decay", "label_smoothing", "drop_path", "patch_dropout", "patch_dropout_until", "ema", "early_stopping", "keep",
        "randaugment", "magnitude", "erasing", "mixup", "cutmix", "mix_probability", "mix_until", "snapshots", "bank"})

    model: str | None = option(None, "Hub id or folder of a masked autoencoder to go on from, its decoder too (ViTMAEForPreTraining in safetensors, such as this command writes); leave it out to pretrain --preset from scratch")
    mask_ratio: float = option(0.75, "share of the patches that the encoder does not see", least=0, below=1)
    normalise_pixels: bool = option(True, "predict each patch with its own mean and spread taken out")
    decoder_hidden_size: int = option(128, f"width of the decoder, a multiple of {DECODER_HEAD}; it is dropped after pretraining", least=DECODER_HEAD)
    decoder_layers: int = option(2, "layers of the decoder", least=1)
    half: bool = option(False, "write the weights in float16: half the size")
    test_split: str | None = NO_TEST
    validation_images: int = option(0, "hold out the last this many training pictures, for a fine-tune that chooses on them; how well they are filled in is measured at the end", least=0)
    epochs: int = option(400, "passes over the training pictures", least=1)
    batch_size: int = option(512, "pictures an optimiser step, over all processes and accumulation steps", least=1)
    optimizer: str = option("muon", "adamw, or muon for the matrices of the encoder's layers and AdamW for the rest", choices=["adamw", "muon"])
    label_smoothing: float = 0.0
    beta2: float = option(0.95, "AdamW's second-moment decay", least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        if self.decoder_hidden_size % DECODER_HEAD:
            raise UserError(f"--decoder-hidden-size {self.decoder_hidden_size} is not a multiple of {DECODER_HEAD}: take {self.decoder_hidden_size // DECODER_HEAD * DECODER_HEAD}")

    @classmethod
    def from_preset(cls, name: str) -> dict:
        return {setting: value for setting, value in read_preset(name).items() if setting in ARCHITECTURE}


def build(config: PretrainConfig, class_names: tuple[str, ...]) -> tuple[ViTMAEForPreTraining, list[str]]:
    """(masked autoencoder in float32, lines to tell the user)."""
    model, begun = pretrained(config) if config.model else (new(config), "a new masked autoencoder")
    patches, patch = model.vit.embeddings.patch_embeddings.num_patches, model.config.patch_size
    return model, [f"{begun}: {model.config.image_size} px, patch {patch}, {round(patches * (1 - config.mask_ratio))} of {patches} patches seen; "
                   f"encoder {model.vit.num_parameters() / 1e6:.2f} M parameters, decoder {sum(p.numel() for p in model.decoder.parameters()) / 1e6:.2f} M"]


def new(config: PretrainConfig) -> ViTMAEForPreTraining:
    size = config.image_size or 32
    check_divisible(size, config.patch_size)
    if config.hidden_size % 4:
        raise UserError(f"--hidden-size {config.hidden_size} is not a multiple of 4, which positions by sine and cosine of row and column need")
    decoder = dict(decoder_hidden_size=config.decoder_hidden_size, decoder_num_hidden_layers=config.decoder_layers,
                   decoder_num_attention_heads=config.decoder_hidden_size // DECODER_HEAD, decoder_intermediate_size=4 * config.decoder_hidden_size)
    encoder = {name: getattr(config, name) for name in ARCHITECTURE} | {"image_size": size}
    return made(config, ViTMAEConfig(**encoder, **decoder))


def pretrained(config: PretrainConfig) -> tuple[ViTMAEForPreTraining, str]:
    """(the weights of --model, encoder and decoder, for this run's picture size; what they are). At another size the positions,
    which were never learned, are made anew around the mean that they had."""
    base = pretrained_config(config.model)
    size = config.image_size or base.image_size
    check_divisible(size, base.patch_size)
    source, missing = read_weights(ViTMAEForPreTraining, config.model)
    if missing:
        raise UserError(f"{config.model} lacks {len(missing)} tensors of a masked autoencoder ({', '.join(sorted(missing)[:3])} …): give the folder of an earlier pretraining with its decoder")
    model = made(config, ViTMAEConfig(**{**source.config.to_diff_dict(), "image_size": size, "patch_size": base.patch_size}))
    anew, weights = model.state_dict(), source.state_dict()
    for name in POSITIONS:
        if weights[name].shape != anew[name].shape:
            around = weights[name][:, 1:].mean(dim=1, keepdim=True)
            weights[name] = torch.cat([weights[name][:, :1], anew[name][:, 1:] + around], dim=1)
    model.load_state_dict(weights)
    return model, f"going on from the masked autoencoder {config.model}"


def made(config: PretrainConfig, architecture: ViTMAEConfig) -> ViTMAEForPreTraining:
    architecture.mask_ratio, architecture.norm_pix_loss = config.mask_ratio, config.normalise_pixels
    torch.manual_seed(config.seed)
    model = ViTMAEForPreTraining(architecture)
    begin(model)
    return model


@torch.no_grad()
def begin(model: ViTMAEForPreTraining) -> None:
    """Fixed sine-cosine positions for encoder and decoder, and random tokens (He et al. 2021, appendix A). transformers 5.17 to 5.23
    has the code for it and leaves them at zero: such a model does not know where a patch was.

    What all places share is taken out: on a grid of few patches the long waves are the same everywhere, nine tenths of each
    vector's length on 8 × 8, and LayerNorm then leaves little of the rest. The projections' biases and the mask token can put
    it back.
    """
    embeddings = model.vit.embeddings
    embeddings.patch_embeddings.projection._is_hf_initialized = False  # or the next line does nothing
    embeddings.initialize_weights()
    model.decoder.initialize_weights(embeddings.patch_embeddings.num_patches)
    for table in (embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        table[:, 1:] -= table[:, 1:].mean(dim=1, keepdim=True)


def reconstruct(model, pixel_values: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, None]:
    """Mean squared error over the hidden patches' pixels. Which ones are hidden follows from the step's seed."""
    return model(pixel_values=pixel_values).loss, None


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


@torch.no_grad()
def filled_in(model: ViTMAEForPreTraining, pixel_values: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the encoder sees (hidden patches at zero) and what the decoder makes of it, both (B,3,H,W) like the pictures. A model
    that predicts without each patch's mean and spread gets the true ones back: it was not asked for them."""
    output, patches = model(pixel_values=pixel_values, noise=noise), model.patchify(pixel_values)
    guess, hidden = output.logits, output.mask[..., None]
    if model.config.norm_pix_loss:
        guess = guess * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
    visible = patches * (1 - hidden)
    return model.unpatchify(visible), model.unpatchify(visible + guess * hidden)


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
    outcome.write_weights(run.output, run.model, {name: w.half() for name, w in weights.items()} if run.config.half else weights)
    run.processor.save_pretrained(run.output)
    run.model.eval()
    unseen = run.splits.held_out
    held_out = {"validation_reconstruction_loss": unseen_loss(run, unseen.pixels)} if unseen else {}
    metrics = {"reconstruction_loss": run.progress.history[-1]["train_loss"], **held_out, **outcome.conditions(run)}
    report.write_metrics(run.output, metrics)
    figures.save(sheet(run, (unseen or run.splits.train).pixels), run.output / figures.RECONSTRUCTIONS)
    report.write_bytes(run.output / "README.md", card(run, metrics).encode())
    run.accelerator.print(f"reconstruction loss {metrics['reconstruction_loss']:.4f}; fine-tune it with\n  python -m training.train --model {run.output} --dataset {run.config.dataset} --output …")


def card(run: Run, metrics: dict) -> str:
    config, encoder = run.config, run.model.config
    data, held_out = metrics["dataset"], metrics.get("validation_reconstruction_loss")
    unseen = f"; on {data['validation_images']:,} pictures that it did not learn from {held_out:.4f}" if held_out else ""
    normalised = f" (each patch normalised: to guess the mean would be {1 - 1 / (3 * encoder.patch_size ** 2):.2f})" if config.normalise_pixels else ""
    begun = begun_from(metrics)
    which = "that it did not learn from" if held_out else "from the training"
    return f"""---
license: apache-2.0
library_name: transformers
tags: [vit_mae, masked-autoencoder, vit-demo]
---

# {Path(config.output).name}

A Vision Transformer that was pretrained by masked autoencoding (He et al. 2021, [arXiv:2111.06377](https://arxiv.org/abs/2111.06377)):
{config.mask_ratio:.0%} of a picture's patches are hidden, and the model fills them in. It has seen no label and gives no answer before it is fine-tuned:

```
python -m training.train --model {Path(config.output).name} --dataset {data['name']} --output runs/vit
```

- Encoder: {encoder.image_size} px, patches of {encoder.patch_size} px, {encoder.num_hidden_layers} layers, width {encoder.hidden_size}.
{begun}- Data: {data['train_images']:,} pictures of `{data['name']}`, split {data['train_split']}; the pictures of other splits were not read.
- Trained for {metrics['epochs']} epochs{' more' if begun else ''}, {metrics['seconds'] / 60:.0f} minutes on {metrics['device']}; last epoch's loss on hidden pixels: {metrics['reconstruction_loss']:.4f}{unseen}{normalised}.
- Its accuracy after fine-tuning was not measured here.

![Pictures with most patches hidden, as they were filled in, and as they are]({figures.RECONSTRUCTIONS})

Pictures {which}: what the encoder sees, what is filled in{', with each patch’s true mean and spread put back' if config.normalise_pixels else ''}, and the pictures themselves.

```
{command(config)}
```
"""


def begun_from(metrics: dict) -> str:
    """A line of the card: whose weights it went on from, and by which commands of ours."""
    begun = [f"`{metrics['base_model']}`, whose licence applies as well"] if metrics["base_model"] else []
    begun += [f"{run['epochs']} epochs of `{run['command']}`" for run in metrics["earlier"]]
    return f"- Went on from {'; then '.join(begun)}.\n" if begun else ""


TASK = Task(build, reconstruct, finish, answers=False)


def main(argv: list[str] | None = None) -> Path:
    """Pretrain as the command line says; returns the output folder. Raises UserError, or SystemExit(130) when asked to stop."""
    return carry_out(parse_config(argv, PretrainConfig), TASK)


if __name__ == "__main__":
    cli(main)
