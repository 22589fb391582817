"""Is this model a plain Vision Transformer, and safe to open? Every refusal, before any weight is read.

What a model's files say is data: only the keys named here are taken from them, each one checked, so that a config
cannot name code, a kernel or another file. `name` is what the user calls the model; every refusal begins with it.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from transformers import ViTConfig, ViTImageProcessorPil

from vit_demo.checks import by, is_number, is_whole, pair, refuse_above, shown, whole
from vit_demo.errors import Damaged, UserError
from vit_demo.labels import clean_labels

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONVERTER = "https://huggingface.co/spaces/safetensors/convert"
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu")
PROCESSOR_SWITCHES = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb")


@dataclass(frozen=True)
class Limits:
    """The most that a model may be, and the longest that the Hub may take."""

    width: float = 1280
    layers: float = 40
    image: float = 512  # pixels a side
    labels: float = 1000
    parameters: float = 100e6
    weight_bytes: float = 400e6
    weight_files: float = 8
    tensors: float = 2000
    attention_bytes: float = 600e6  # all attention maps of one picture, float32
    mlp_bytes: float = 300e6  # all that its MLPs hold of one picture, float32; ViT-L/16 at 384 px, 227 MB, is the most of those in use
    answer_seconds: float = 20  # for the Hub to name a revision and send the small files
    download_seconds: float = 900  # for it to send the weights


DEFAULT_LIMITS = Limits()
NO_LIMITS = Limits(**{field.name: math.inf for field in fields(Limits) if not field.name.endswith("seconds")},
                   download_seconds=6 * 3600)  # of size; the Hub's patience with a slow line is still bounded


def parse_json(name: str, file: str, text: bytes) -> dict:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # ValueError: not JSON, or not UTF-8
        content = None
    if not isinstance(content, dict):
        raise Damaged(f"{name}: {file} is damaged (it holds no JSON object); download or save it again")
    return content


def read_config(name: str, raw: dict, limits: Limits) -> ViTConfig:
    """The contents of config.json -> a config of nothing but the keys that shape a ViT."""
    _refuse_other_models(name, raw)
    numbers = {key: whole(name, key, raw.get(key, default)) for key, default in [
        ("hidden_size", 768), ("num_hidden_layers", 12), ("num_attention_heads", 12), ("intermediate_size", 3072)]}
    image_size, patch_size = pair(name, "image_size", raw.get("image_size", 224)), pair(
        name, "patch_size", raw.get("patch_size", 16))
    width, heads = numbers["hidden_size"], numbers["num_attention_heads"]
    activation, epsilon = raw.get("hidden_act", "gelu"), raw.get("layer_norm_eps", 1e-12)
    qkv_bias = raw.get("qkv_bias", True)
    if width % heads:
        raise UserError(f"{name}: its width {width} does not divide into {heads} attention heads")
    if patch_size[0] != patch_size[1] or image_size[0] % patch_size[0] or image_size[1] % patch_size[0]:
        raise UserError(f"{name}: its patches of {by(patch_size)} px do not tile pictures of {by(image_size)} px in squares")
    if raw.get("num_channels", 3) != 3:
        raise UserError(f"{name}: it wants {shown(raw['num_channels'])} colour channels; pictures here have 3")
    if activation not in ACTIVATIONS:
        raise UserError(f"{name}: its activation {shown(activation)} is none of {', '.join(ACTIVATIONS)}")
    if not is_number(epsilon) or not 0 <= epsilon < 1:
        raise UserError(f"{name}: its layer_norm_eps {shown(epsilon)} is not a small number")
    if not isinstance(qkv_bias, bool):
        raise UserError(f"{name}: its qkv_bias {shown(qkv_bias)} is neither true nor false")
    refuse_above(name, "width", width, limits.width)
    refuse_above(name, "number of layers", numbers["num_hidden_layers"], limits.layers)
    refuse_above(name, "picture side in pixels", max(image_size), limits.image)
    labels = _labels(name, raw, limits)
    config = ViTConfig(
        **numbers, hidden_act=activation, layer_norm_eps=epsilon, qkv_bias=qkv_bias,
        image_size=_square(image_size), patch_size=patch_size[0],
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)})
    tokens = math.prod(patch_grid(config)) + 1
    attention_bytes = 4 * numbers["num_hidden_layers"] * heads * tokens ** 2
    # Parameters do not bound these: a narrow model has few of them for each of very many neurons.
    mlp_bytes = 4 * numbers["num_hidden_layers"] * numbers["intermediate_size"] * tokens
    refuse_above(name, "number of parameters", parameter_count(config), limits.parameters)
    refuse_above(name, "attention maps of one picture in bytes", attention_bytes, limits.attention_bytes)
    refuse_above(name, "activations of its MLPs for one picture in bytes", mlp_bytes, limits.mlp_bytes)
    return config


def _refuse_other_models(name: str, raw: dict) -> None:
    if raw.get("model_type") != "vit":
        raise UserError(f"{name}: its model_type is {shown(raw.get('model_type'))}; "
                        "only plain Vision Transformers open here (model_type vit)")
    architectures = raw.get("architectures") or ["ViTForImageClassification"]
    if not isinstance(architectures, list) or "ViTForImageClassification" not in architectures:
        raise headless(name)


def headless(name: str) -> UserError:
    return UserError(f"{name}: it has no classification head, so it cannot name what it sees. Fine-tune it first: "
                     f"accelerate launch -m training.train --model {name} --dataset uoft-cs/cifar10 --output runs/my-vit")


def _labels(name: str, raw: dict, limits: Limits) -> tuple[str, ...]:
    names = raw.get("id2label")
    if names is None:  # the library leaves its own default names out of the file
        count = whole(name, "num_labels", raw.get("num_labels", 2))
        refuse_above(name, "number of labels", count, limits.labels)
        names = {str(index): f"LABEL_{index}" for index in range(count)}
    if not isinstance(names, dict) or not names:
        raise UserError(f"{name}: its id2label is not a table of class numbers and names")
    refuse_above(name, "number of labels", len(names), limits.labels)
    if set(names) != {str(index) for index in range(len(names))}:
        raise UserError(f"{name}: its classes are not numbered 0 to {len(names) - 1} in id2label")
    return clean_labels([names[str(index)] for index in range(len(names))])


def patch_grid(config: ViTConfig) -> tuple[int, int]:
    """(rows, columns) of patches."""
    (height, width), (patch_height, patch_width) = sides(config.image_size), sides(config.patch_size)
    return height // patch_height, width // patch_width


def parameter_count(config: ViTConfig) -> int:
    """Of a ViTForImageClassification with this config, by arithmetic: nothing is built."""
    width, inner = config.hidden_size, config.intermediate_size
    tokens = math.prod(patch_grid(config)) + 1
    embeddings = width * (3 * config.patch_size ** 2 + 1) + width + tokens * width
    layer = 4 * width ** 2 + (4 if config.qkv_bias else 1) * width + 2 * width * inner + inner + width + 4 * width
    return embeddings + config.num_hidden_layers * layer + 2 * width + config.num_labels * (width + 1)


def read_processor(name: str, raw: dict, config: ViTConfig) -> ViTImageProcessorPil:
    """The contents of preprocessor_config.json -> the processor, of nothing but its numbers and switches."""
    file = "preprocessor_config.json"
    settings = {key: raw[key] for key in PROCESSOR_SWITCHES if raw.get(key) is not None}
    for key, value in settings.items():
        if not isinstance(value, bool):
            raise UserError(f"{name}: {key} in {file} is neither true nor false")
    longest = 4 * max(sides(config.image_size))  # enough to resize and then crop; a picture of any size would do
    for key in ("size", "crop_size"):
        if raw.get(key) is not None:
            lengths = raw[key] if isinstance(raw[key], dict) else {"height": raw[key], "width": raw[key]}
            if not lengths or not all(k in ("height", "width", "shortest_edge") and is_whole(v) and 0 < v <= longest
                                    for k, v in lengths.items()):
                raise UserError(f"{name}: {key} in {file} does not lead to the {by(sides(config.image_size))} px "
                                "pictures that the model takes")
            settings[key] = lengths
    for key in ("image_mean", "image_std", "rescale_factor"):
        if raw.get(key) is not None:
            values = raw[key] if isinstance(raw[key], list) and key != "rescale_factor" else [raw[key]]
            if len(values) not in (1, 3) or not all(is_number(v) and (v or key == "image_mean") for v in values):
                raise UserError(f"{name}: {key} in {file} is not made of usable numbers")
            settings[key] = raw[key]
    if raw.get("resample") is not None:
        if not is_whole(raw["resample"]) or not 0 <= raw["resample"] <= 5:
            raise UserError(f"{name}: resample in {file} is no known filter (0 to 5)")
        settings["resample"] = raw["resample"]
    return ViTImageProcessorPil(**settings)


def choose_weights(name: str, sizes: Mapping[str, int], read_index: Callable[[], dict], limits: Limits) -> tuple[str, ...]:
    """The files' names and sizes in bytes -> the weight files to read: safetensors alone, whole, and within bounds."""
    if WEIGHTS in sizes:
        files = (WEIGHTS,)
    elif INDEX in sizes:
        weight_map = read_index().get("weight_map")
        shards = list(weight_map.values()) if isinstance(weight_map, dict) else []
        if not shards or not all(isinstance(s, str) and re.fullmatch(r"[\w-][\w.-]*\.safetensors", s) for s in shards):
            raise UserError(f"{name}: {INDEX} does not list safetensors files beside it; save the model again")
        files = tuple(sorted(set(shards)))
        refuse_above(name, "number of weight files", len(files), limits.weight_files)
    elif pickles := sorted(f for f in sizes if f.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack"))):
        raise UserError(f"{name}: its weights are in {shown(pickles[0])}, a format that can run code or that is not "
                        f"read here. Convert it to {WEIGHTS} first: {CONVERTER}")
    else:
        raise UserError(f"{name}: it holds no weights; it needs a {WEIGHTS}")
    if missing := [file for file in files if file not in sizes]:
        raise UserError(f"{name}: {missing[0]} is missing, {len(missing)} of {len(files)} weight files; "
                        "download or save the model again")
    refuse_above(name, "weights in bytes", sum(sizes[file] for file in files), limits.weight_bytes)
    return files


def check_weights(name: str, tensors: Mapping[str, tuple[str, tuple[int, ...]]], config: ViTConfig, limits: Limits) -> None:
    """The tensors' names, types and shapes, as the weight files' headers list them, against the config."""
    if "classifier.weight" not in tensors:
        if wrapped := [key for key in tensors if key.endswith(".classifier.weight")]:
            raise UserError(f"{name}: its tensors are named after a wrapper ({shown(wrapped[0])} instead of "
                            "classifier.weight); save the model itself")
        raise headless(name)
    if others := sorted({dtype for dtype, _ in tensors.values()} - {"F16", "BF16", "F32", "F64"}):
        raise UserError(f"{name}: its weights are of the type {shown(others[0])}; only plain floating point opens here")
    head, expected = tensors["classifier.weight"][1], (config.num_labels, config.hidden_size)
    if head != expected:
        raise UserError(f"{name}: its config.json and its weights do not belong together: the head should be "
                        f"{by(expected)}, and is {by(head)}")
    count = sum(math.prod(shape) for _, shape in tensors.values())
    refuse_above(name, "number of parameters", count, limits.parameters)
    if count != parameter_count(config):
        raise UserError(f"{name}: its config.json and its weights do not belong together: {parameter_count(config):,} "
                        f"parameters expected, {count:,} found")


def _square(sides: tuple[int, int]) -> int | list[int]:
    return sides[0] if sides[0] == sides[1] else list(sides)


def sides(size: int | list[int]) -> tuple[int, int]:
    """A config's size, one number or two -> height, width."""
    return (size, size) if isinstance(size, int) else tuple(size)
