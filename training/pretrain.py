"""Pretrain a ViT on pictures alone, by masked autoencoding; `training.train --model` fine-tunes what it writes.

    python -m training.pretrain --dataset uoft-cs/cifar10 --preset cifar-patch4 --epochs 400 --output runs/mae
    python -m training.train --dataset uoft-cs/cifar10 --preset cifar-patch4 --model runs/mae --layer-decay 0.75 --output runs/vit

Most patches of a picture are hidden; the encoder sees the rest, and a light decoder fills in the pixels. No label is
learned, so the pictures need none, and no test picture is read. He et al. 2021, arXiv:2111.06377.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from transformers import ViTMAEConfig, ViTMAEForPreTraining

from training.command_line import parse_config
from training.config import TrainConfig, option, read_preset
from training.masked import made, reconstruct, seen_patches, take_over
from training.model import check_divisible, pretrained_config, read_weights
from training.pretrain_outcome import finish
from training.run import Task
from training.train import carry_out, cli
from vit_demo.errors import UserError

ARCHITECTURE = ("image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
DECODER_HEAD = 32  # width of one of the decoder's heads


@dataclass
class PretrainConfig(TrainConfig):
    """Settings of `python -m training.pretrain`. Of a preset it takes the architecture only."""

    MODULE: ClassVar[str] = "training.pretrain"
    DOES: ClassVar[str] = "Pretrain a Vision Transformer by masked autoencoding, on pictures without their labels."
    EXAMPLE: ClassVar[str] = "python -m training.pretrain --dataset uoft-cs/cifar10 --preset cifar-patch4 --epochs 400 --output runs/mae"
    WAYS: ClassVar[str] = "give --preset, the architecture to pretrain, or --model to go on from a masked autoencoder"
    SHAPE: ClassVar[tuple[str, ...]] = (*TrainConfig.SHAPE, "decoder_hidden_size", "decoder_layers")
    ANSWERS: ClassVar[bool] = False
    UNUSED: ClassVar[frozenset[str]] = frozenset({
        "label_column", "train_last_blocks", "layer_decay", "label_smoothing", "drop_path", "patch_dropout", "patch_dropout_until", "ema", "early_stopping", "keep",
        "randaugment", "magnitude", "erasing", "mixup", "cutmix", "mix_probability", "mix_until", "snapshots", "bank"})

    model: str | None = option(None, "Hub id or folder of a masked autoencoder to go on from, its decoder too (ViTMAEForPreTraining in safetensors, such as this command writes); leave it out to pretrain --preset from scratch")
    mask_ratio: float = option(0.75, "share of the patches that the encoder does not see", least=0, below=1)
    normalise_pixels: bool = option(True, "predict each patch with its own mean and spread taken out")
    decoder_hidden_size: int = option(128, f"width of the decoder, a multiple of {DECODER_HEAD}; it is dropped after pretraining", least=DECODER_HEAD)
    decoder_layers: int = option(2, "layers of the decoder", least=1)
    half: bool = option(False, "write the weights in float16: half the size")
    test_split: str | None = option(None, "the split that stays unread (default: 'test' where there is one; without it and without a validation split 10 %% of the training pictures are left out, those on which training.train measures, and how well they are filled in is measured at the end); none: learn from those too")
    validation_images: int = option(0, "hold out this many training pictures, the same that training.train holds out, for a fine-tune that chooses on them; how well they are filled in is measured at the end", least=0)
    epochs: int = option(400, "passes over the training pictures", least=1)
    batch_size: int = option(512, "pictures an optimiser step, over all processes and accumulation steps", least=1)
    optimizer: str = option("muon", "adamw, or muon for the matrices of the encoder's layers and AdamW for the rest", choices=["adamw", "muon"])
    label_smoothing: float = 0.0
    beta2: float = option(0.95, "AdamW's second-moment decay", least=0, below=1)

    def __post_init__(self):
        super().__post_init__()
        if self.decoder_hidden_size % DECODER_HEAD:
            raise UserError(f"--decoder-hidden-size {self.decoder_hidden_size} is not a multiple of {DECODER_HEAD}: take {self.decoder_hidden_size // DECODER_HEAD * DECODER_HEAD}")

    @property
    def masking(self) -> dict:
        """What the model is asked for, in the library's words."""
        return {"mask_ratio": self.mask_ratio, "norm_pix_loss": self.normalise_pixels}

    @classmethod
    def from_preset(cls, name: str) -> dict:
        return {setting: value for setting, value in read_preset(name).items() if setting in ARCHITECTURE}


def build(config: PretrainConfig, class_names: tuple[str, ...]) -> tuple[ViTMAEForPreTraining, list[str]]:
    """(masked autoencoder in float32, lines to tell the user)."""
    model, begun = pretrained(config) if config.model else (new(config), "a new masked autoencoder")
    seen, whole = seen_patches(model)
    if not 0 < seen < whole:
        raise UserError(f"--mask-ratio {config.mask_ratio}: the encoder would see {seen} of {whole} patches, and must see some but not all: take a ratio above 0 and below {whole - 1}/{whole}, or more patches")
    return model, [f"{begun}: {model.config.image_size} px, patch {model.config.patch_size}, {seen} of {whole} patches seen; "
                   f"encoder {model.vit.num_parameters() / 1e6:.2f} M parameters, decoder {sum(p.numel() for p in model.decoder.parameters()) / 1e6:.2f} M"]


def new(config: PretrainConfig) -> ViTMAEForPreTraining:
    size = config.image_size or 32
    check_divisible(size, config.patch_size)
    if config.hidden_size % 4:
        raise UserError(f"--hidden-size {config.hidden_size} is not a multiple of 4, which positions by sine and cosine of row and column need")
    decoder = dict(decoder_hidden_size=config.decoder_hidden_size, decoder_num_hidden_layers=config.decoder_layers,
                   decoder_num_attention_heads=config.decoder_hidden_size // DECODER_HEAD, decoder_intermediate_size=4 * config.decoder_hidden_size)
    encoder = {name: getattr(config, name) for name in ARCHITECTURE} | {"image_size": size}
    return made(ViTMAEConfig(**encoder, **decoder, **config.masking), config.seed)


def pretrained(config: PretrainConfig) -> tuple[ViTMAEForPreTraining, str]:
    """(the weights of --model, encoder and decoder, for this run's picture size; what they are)."""
    base = pretrained_config(config.model)
    size = config.image_size or base.image_size
    check_divisible(size, base.patch_size)
    source, missing = read_weights(ViTMAEForPreTraining, config.model)
    if missing:
        raise UserError(f"{config.model} lacks {len(missing)} tensors of a masked autoencoder ({', '.join(sorted(missing)[:3])} …): give the folder of an earlier pretraining with its decoder")
    model = made(ViTMAEConfig(**{**source.config.to_diff_dict(), "image_size": size, "patch_size": base.patch_size, **config.masking}), config.seed)
    take_over(model, source.state_dict())
    return model, f"going on from the masked autoencoder {config.model}"


TASK = Task(build, reconstruct, finish)


def main(argv: list[str] | None = None) -> Path:
    """Pretrain as the command line says; returns the output folder. Raises UserError, or SystemExit(130) when asked to stop."""
    return carry_out(parse_config(argv, PretrainConfig), TASK)


if __name__ == "__main__":
    cli(main)
