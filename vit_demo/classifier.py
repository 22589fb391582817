"""A classifier: the model, its processor and its labels, opened from the Hub, a folder or the bundled one.

B images, K classes, H and W the height and width that the model takes.
"""

import copy
import json
import os
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Event
from weakref import WeakValueDictionary

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from transformers import ViTForImageClassification, ViTImageProcessorPil

from vit_demo import hub_address, hub_fetch, hub_model, zero_gpu
from vit_demo.errors import Damaged, Unreachable, UserError
from vit_demo.hub_fetch import Report, silent
from vit_demo.hub_model import DEFAULT_LIMITS, NO_LIMITS, Limits

BUNDLED = Path(__file__).parent / "bundled"
STRIP = 8  # times as long as wide
FAITHFULNESS_FILE = "faithfulness.json"  # how true the heat maps of a model are; benchmarks/faithfulness.py leaves it beside it


_open: WeakValueDictionary[Path, "Classifier"] = WeakValueDictionary()  # by folder, for a process that borrows a GPU


@dataclass(frozen=True)
class Origin:
    """How a model was had from the Hub: what else lies in its repository is asked for with no other rights and bounds."""

    token: str | bool | None = field(repr=False)
    limits: Limits


@dataclass(frozen=True, eq=False)
class Classifier:
    name: str  # "bundled", the folder's name, or "user/repository"
    revision: str | None  # the commit, when it came from the Hub
    model: ViTForImageClassification  # float32, eval, sdpa: for predicting
    processor: ViTImageProcessorPil
    labels: tuple[str, ...]
    files: Path  # the folder it was read from; metrics.json and more may lie there
    note: str = ""  # why this is not the newest revision, when the Hub did not answer
    origin: Origin | None = None  # None for a folder

    def __post_init__(self) -> None:
        _open[self.files] = self

    @cached_property
    def viewing(self) -> ViTForImageClassification:
        """The same model made of the same tensors, with the attention code that returns its maps.

        A second module, because switching the attention of one that is predicting for someone else would be a race.
        """
        with torch.device("meta"):  # takes no memory: the tensors come from `model`
            twin = ViTForImageClassification(copy.deepcopy(self.model.config))
        twin.set_attn_implementation("eager")
        twin.load_state_dict(self.model.state_dict(), assign=True)
        return twin.eval()

    @cached_property
    def metrics(self) -> dict:
        """What training measured (metrics.json), or nothing."""
        try:
            measured = json.loads((self.files / "metrics.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return measured if isinstance(measured, dict) else {}

    def pixel_values(self, images: list[Image.Image]) -> torch.Tensor:
        """(B,3,H,W) float32: resized and normalised by the model's own processor."""
        return self.processor([self.middle(image).convert("RGB") for image in images], return_tensors="pt").pixel_values.float()

    def middle(self, image: Image.Image) -> Image.Image:
        """What a processor that gives the shorter side its length, and then cuts out the middle, needs of a long strip: all of it would
        take memory without bound."""
        across, along = min(image.size), max(image.size)
        if "shortest_edge" not in self.processor.size or along <= STRIP * across:
            return image
        start, end = (along - STRIP * across) // 2, (along + STRIP * across) // 2
        return image.crop((start, 0, end, across) if image.width > image.height else (0, start, across, end))

    def logits(self, images: list[Image.Image]) -> torch.Tensor:
        """(B,K) float32"""
        return lent_logits(self.files, images) if zero_gpu.borrows(self.model) else self.forward(images)

    @torch.no_grad()
    def forward(self, images: list[Image.Image]) -> torch.Tensor:
        """(B,K) float32, computed where the model lies."""
        return self.model(self.pixel_values(images).to(self.model.device)).logits.cpu()

    def probabilities(self, image: Image.Image) -> torch.Tensor:
        """(K,), sums to 1"""
        return self.logits([image])[0].softmax(-1)

    def top_k(self, image: Image.Image, k: int = 5) -> list[tuple[str, float]]:
        """The k likeliest labels with their probabilities, likeliest first."""
        values, indices = self.probabilities(image).topk(min(k, len(self.labels)))
        return [(self.labels[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]


@zero_gpu.lent
def lent_logits(files: Path, images: list[Image.Image]) -> torch.Tensor:
    return on_lent_gpu(files).forward(images)


def on_lent_gpu(files: Path) -> Classifier:
    """The classifier that was read from this folder, in the process that a GPU was lent to."""
    classifier = _open.get(files) or _read_again(files)
    zero_gpu.place(classifier.model, classifier.viewing)
    return classifier


@lru_cache(maxsize=2)
def _read_again(files: Path) -> Classifier:
    return read_folder(files, files.name)


def load(source: str | Path | None = None, *, revision: str | None = None, token: str | bool | None = None,
         limits: Limits = DEFAULT_LIMITS, report: Report = silent, stop: Event | None = None) -> Classifier:
    """None: the bundled model. A folder. Or a model on the Hub: `user/name`, `user/name@revision`, or its address.

    `token=False` is for names that visitors give: no token, no folders, files apart from the owner's. `limits` hold
    for the Hub; a folder is your own. `report` is told each step; `stop`, once set, ends a download with Stopped.
    Every refusal is a UserError.
    """
    if source is None:
        if not (BUNDLED / "config.json").is_file():
            raise UserError("this copy has no bundled model; name one with --model, a folder or user/name on the Hub")
        return read_folder(BUNDLED, "bundled")
    if token is not False and os.path.isdir(source):
        return read_folder(Path(source), Path(source).resolve().name)
    address = hub_address.parse(str(source), revision)

    def attempt(afresh: bool) -> Classifier:
        snapshot = hub_fetch.fetch(address, token=token, limits=limits, report=report, stop=stop, afresh=afresh)
        report("opening it")
        opened = read_folder(snapshot.folder, address.id, snapshot.revision, limits)
        return replace(opened, note=snapshot.note, origin=Origin(token, limits))

    try:
        return attempt(afresh=False)
    except Damaged as error:
        damage = error
    except Unreachable as error:
        raise error if token is False else Unreachable(f"{error}; there is no folder of that name here") from None
    try:
        return attempt(afresh=True)
    except Unreachable as error:
        raise UserError(f"{damage}. A new copy cannot be had now: {error}") from None
    except Damaged:
        raise UserError(f"{damage}. It lies on the Hub like that: its owner has to upload it again") from None


def newest(source: str) -> str:
    """The commit on the Hub that the name leads to now; for a name with a commit in it, the one of the main branch.

    Asked as a visitor asks, without a token: of a private model nothing is told.
    """
    address = hub_address.parse(source)
    return hub_fetch.latest(replace(address, revision=None) if address.pinned else address, token=False, limits=DEFAULT_LIMITS)


def read_folder(folder: Path, name: str, revision: str | None = None, limits: Limits = NO_LIMITS,
                processor_of: Path | None = None) -> Classifier:
    """A folder of config.json, preprocessor_config.json and safetensors -> a classifier that has been seen to work.

    `processor_of`: the folder that has the preprocessor_config.json, where it is another."""
    def read_json(file: str, where: Path = folder) -> dict:
        try:
            return hub_model.parse_json(name, file, (where / file).read_bytes())
        except OSError:
            raise UserError(f"{name}: it holds no {file}, so it is not a whole model; save the model there again, "
                            "with its image processor") from None

    config = hub_model.read_config(name, read_json("config.json"), limits)
    processor = hub_model.read_processor(name, read_json("preprocessor_config.json", processor_of or folder), config)
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    weights = hub_model.choose_weights(name, sizes, lambda: read_json(hub_model.INDEX), limits)
    try:
        hub_model.check_weights(name, tensor_headers([folder / file for file in weights]), config, limits)
        # The config and the attention are given, and only safetensors are read: the folder's files choose no code.
        model, report = ViTForImageClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, attn_implementation="sdpa",
            use_safetensors=True, local_files_only=True, output_loading_info=True)
    except SafetensorError:
        raise Damaged(f"{name}: its weights are damaged or incomplete; download or save them again") from None
    except OSError:  # gone while other models made room, or not for this user to read
        raise Damaged(f"{name}: its weights cannot be read; check the permissions of its files") from None
    except RuntimeError:  # what the library raises for a tensor of another shape
        raise UserError(f"{name}: its weights have other shapes than its config.json says; save the model "
                        "again") from None
    for problem in ("missing", "unexpected"):
        if keys := sorted(report[f"{problem}_keys"]):
            raise UserError(f"{name}: its weights are not those of a ViT classifier: {len(keys)} {problem}, such as "
                            f"{hub_model.shown(keys[0])}; save the whole model again")
    classifier = Classifier(name, revision, model.eval(), processor, tuple(config.id2label.values()), folder)
    _try_out(classifier)
    return classifier


def tensor_headers(files: list[Path]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (type, shape), from the files' headers alone."""
    tensors = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}
            tensors |= {key: (part.get_dtype(), tuple(part.get_shape())) for key, part in slices.items()}
    return tensors


def _try_out(classifier: Classifier) -> None:
    """One small picture all the way through, so that what cannot work is refused here and not at a visitor's."""
    picture = Image.new("RGB", (9, 7), "grey")
    try:
        finite = classifier.logits([picture]).isfinite().all()
    except ValueError as error:  # the processor's pictures are not the model's size
        raise UserError(f"{classifier.name}: its preprocessor_config.json does not make the pictures that the model "
                        "takes; save the model's own image processor there") from error
    if not finite:
        raise UserError(f"{classifier.name}: its weights give no finite numbers (NaN or infinity); it cannot be used")
