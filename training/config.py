"""Every setting of a training run, in one dataclass; the help texts are the manual. command_line.py fills it in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from training.extras import BANK_BYTES, BANK_PICTURES
from training.yaml_settings import check_bounds, read_yaml
from vit_demo.errors import UserError

PRESETS = Path(__file__).parent / "presets"
NO_TEST = "none"  # --test-split for a run that must not look at the test pictures, such as one that chooses a recipe
SAVE_MINUTES = 10  # between two states of an epoch, where --save-every does not say it in steps


def option(default, help_text: str, **more):
    """A dataclass field whose help text `--help` prints."""
    return field(default=default, metadata={"help": help_text, **more})


@dataclass
class TrainConfig:
    """Settings of `python -m training.train`."""

    MODULE: ClassVar[str] = "training.train"
    DOES: ClassVar[str] = "Fine-tune a Vision Transformer, or train one from scratch, and write a measured, documented model."
    EXAMPLE: ClassVar[str] = "accelerate launch -m training.train --dataset uoft-cs/cifar10 --model google/vit-base-patch16-224-in21k --output runs/vit-b16"
    WAYS: ClassVar[str] = "give --model to fine-tune one, or --preset to train from scratch"
    SHAPE: ClassVar[tuple[str, ...]] = ("patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")  # --model brings its own
    ANSWERS: ClassVar[bool] = True  # whether it learns classes: labels are read, and its answers measured
    UNUSED: ClassVar[frozenset[str]] = frozenset()  # settings without a flag: they mean nothing to this command

    # What to learn from
    dataset: str | None = option(None, "Hub id (uoft-cs/cifar10), a folder of parquet files, or a folder with one folder of pictures a class")
    dataset_config: str | None = option(None, "which one of several data sets that live under the one name")
    image_column: str | None = option(None, "the column with the pictures; found by its type when there is just one")
    label_column: str | None = option(None, "the column with the classes; found by its type when there is just one")
    train_split: str = option("train", "the split to train on")
    test_split: str | None = option(None, "the split to measure on at the end (default: 'test' where there is one; otherwise the data set's own validation split, or 10 %% of the training pictures, always the same, which are held out; both are reported as validation_accuracy); none: leave the test pictures unread and measure on those to choose on alone")
    validation_split: str | None = option(None, "the split to choose on, measured after each epoch (default: the data set's own validation split, where there is one and neither --validation-images nor --test-split takes its place); none: leave it unread")
    max_train_images: int | None = option(None, "train on the first this many pictures only (a quick trial); where classes lie in blocks, as in folders of pictures, on so many drawn by class, always the same", least=1)
    validation_images: int = option(0, "hold out the last this many training pictures (where classes lie in blocks, as in folders of pictures: so many drawn by class, always the same; a class's last picture stays) and measure on them after each epoch, in place of a validation split", least=0)
    skip_bad: bool = option(False, "leave out pictures that cannot be read, and say how many")
    # What to train
    model: str | None = option(None, "Hub id (USER/NAME or USER/NAME@REVISION) or folder of a pretrained ViT to fine-tune; leave it out to train --preset from scratch")
    preset: str | None = option(None, "a recipe of training/presets: with --model fine-tune (default) or fine-tune-cpu; without, cifar-patch4, cifar-patch2 or tiny-cpu, which bring an architecture too")
    image_size: int | None = option(None, "pixels a side that the model sees (default: the model's own); another size interpolates the position embeddings", least=1)
    patch_size: int = option(4, "from scratch: pixels a side of a patch", least=1)
    hidden_size: int = option(192, "from scratch: width of a token", least=1)
    num_hidden_layers: int = option(12, "from scratch: number of layers", least=1)
    num_attention_heads: int = option(3, "from scratch: heads a layer", least=1)
    intermediate_size: int = option(768, "from scratch: width of the MLP", least=1)
    train_last_blocks: int | None = option(None, "fine-tune only the head, the final LayerNorm and this many last layers (0: the head alone)", least=0)
    # How to train
    epochs: int = option(10, "passes over the training pictures", least=1)
    batch_size: int = option(128, "pictures an optimiser step, over all processes and accumulation steps", least=1)
    accumulation: int = option(1, "split each batch into this many forward-backward passes (less memory; the same step, but for what the model itself drops or hides at random)", least=1)
    optimizer: str = option("adamw", "adamw, or muon (orthogonalised momentum) for the matrices of the layers and AdamW for the rest", choices=["adamw", "muon"])
    learning_rate: float = option(1e-3, "peak learning rate of AdamW", least=1e-12)
    muon_learning_rate: float = option(4e-3, "peak learning rate of Muon", least=1e-12)
    weight_decay: float = option(0.05, "decoupled weight decay of matrices; LayerNorm, biases, class token and positions have none", least=0)
    muon_weight_decay: float = option(0.1, "weight decay of Muon's matrices", least=0)
    beta2: float = option(0.999, "AdamW's second-moment decay", least=0, below=1)
    warmup: float = option(0.05, "share of all steps over which the learning rate rises", least=0, most=1)
    schedule: str = option("cosine", "how the learning rate falls to zero after warm-up", choices=["cosine", "linear"])
    layer_decay: float = option(1.0, "learning rate factor from each layer to the one below it (BEiT's 0.75 suits fine-tuning)", least=1e-12)
    clip: float = option(1.0, "largest gradient norm (0: no clipping)", least=0)
    label_smoothing: float = option(0.1, "share of the target spread over all classes", least=0, most=1)
    drop_path: float = option(0.0, "stochastic depth: chance to skip the last layer's branches, rising linearly from 0", least=0, below=1)
    patch_dropout: float = option(0.0, "share of the patches that each picture is trained without (0.5: nearly half the time a step)", least=0, below=1)
    patch_dropout_until: float = option(1.0, "drop patches only in this first share of the training, in whole epochs, rounded up; whole pictures after it, as the model will be asked about", least=0, most=1)
    ema: float = option(0.0, "decay of the weight average that is measured and shipped (0: none)", least=0, below=1)
    early_stopping: int = option(0, "stop after this many epochs without a better validation accuracy (0: never)", least=0)
    keep: str = option("last", "which weights to ship: the last, or the best by validation accuracy", choices=["last", "best"])
    # Augmentation: every picture has its own draw, made from (seed, epoch, index)
    crop_padding: int = option(4, "random crop after reflecting this many pixels at each border (of a 32 px picture; larger ones in proportion)", least=0, below=32)
    crop_area: float = option(1.0, "in place of that, a random resized crop: a window of this share of the picture to all of it, its sides as 3:4 to 4:3 (0.25 suits photos of one thing, 0.08 ImageNet; 1: none), cut from the pictures as the device holds them: photos at the model's size", least=0.01, most=1)
    flip: bool = option(True, "mirror half of the pictures")
    randaugment: int = option(0, "number of RandAugment operations a picture", least=0)
    magnitude: float = option(0.5, "strength of RandAugment, 0 to 1", least=0, most=1)
    erasing: float = option(0.0, "chance to erase a random rectangle", least=0, most=1)
    mixup: float = option(0.0, "alpha of mixup's Beta distribution (0: no mixup)", least=0)
    cutmix: float = option(0.0, "alpha of cutmix's Beta distribution (0: no cutmix)", least=0)
    mix_probability: float = option(1.0, "share of batches that are mixed; with both alphas, half of them each", least=0, most=1)
    mix_until: float = option(1.0, "mix only in this first share of the training, in whole epochs, rounded up", least=0, most=1)
    # How to run
    output: str | None = option(None, "folder for the model, its card, its metrics and the state to resume from")
    resume: bool = option(False, "go on from the newest complete state in --output, with the settings saved there")
    save_every: int = option(0, "save a resumable state every this many steps (0: at each epoch's end, and "
                                 f"every {SAVE_MINUTES} minutes)", least=0)
    stop_after: float = option(0.0, "save and stop after this many minutes; --resume goes on (0: never)", least=0)
    seed: int = option(0, "seed of the order, the augmentation and the first weights", least=0)
    precision: str = option("auto", "auto: bf16 on a GPU that has it (a T4 or V100 does not), else float32; bf16 also helps CPUs with AVX512-BF16 or AMX", choices=["auto", "float32", "bf16"])
    compile: str = option("auto", "torch.compile the model: auto (on a GPU), yes or no", choices=["auto", "yes", "no"])
    resident_gb: float = option(8.0, "keep the pictures on the device up to this many GB; more is streamed through --workers", least=0)
    workers: int = option(2, "processes that decode pictures when they are streamed", least=0)
    snapshots: int = option(0, "keep this many small copies of the model along the run, most of them early, where it changes most, for the app's time-lapse", least=0)
    bank: int = option(BANK_PICTURES, "write features and small thumbnails of at most this many training pictures beside the model, for the app's nearest-pictures view; they are published with it, unless publish has --no-pictures "
                            f"(0: none; never more than {BANK_PICTURES}, or than fit into {BANK_BYTES / 1e6:.0f} MB)", least=0)
    auto_accumulate: bool = option(False, "out of memory: go on with more --accumulation; the batch of a step stays the same")
    tracker: str | None = option(None, "also log to tensorboard or trackio (its package must be installed)", choices=["tensorboard", "trackio"])
    dry_run: bool = option(False, "check everything, print what would happen, and stop")

    def __post_init__(self):
        check_bounds(self)
        if self.batch_size % self.accumulation:
            raise UserError(f"--batch-size {self.batch_size} is not divisible by --accumulation {self.accumulation}")
        if not self.model and self.hidden_size % self.num_attention_heads:
            raise UserError(f"--hidden-size {self.hidden_size} is not divisible by --num-attention-heads {self.num_attention_heads}")

    def patches_dropped(self, epoch: int) -> float:
        """Share of the patches that this epoch (from 0) is trained without."""
        return self.patch_dropout if epoch < self.patch_dropout_until * self.epochs else 0.0

    def to_the_end(self) -> list[str]:
        """Lines about shares of the training below 1 that reach its last epoch all the same."""
        beside = {"patch_dropout_until": self.patch_dropout, "mix_until": self.mixup or self.cutmix}
        return [f"--{name.replace('_', '-')} {getattr(self, name):g} counts in whole epochs, rounded up: with --epochs {self.epochs} that is all of them, as without it"
                for name, is_on in beside.items() if is_on and self.epochs - 1 < getattr(self, name) * self.epochs < self.epochs]

    @classmethod
    def from_preset(cls, name: str) -> dict:
        """What a preset says to this command."""
        return read_preset(name)


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def architectures() -> list[str]:
    """Presets that can train from scratch."""
    return [name for name in preset_names() if "hidden_size" in read_preset(name)]


def read_preset(name: str) -> dict:
    if name not in preset_names():
        raise UserError(f"no preset named {name!r}: choose {', '.join(preset_names())}")
    return read_yaml(PRESETS / f"{name}.yaml", TrainConfig)
