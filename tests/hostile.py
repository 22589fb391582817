"""Hostile repositories: what a stranger may put on the Hub in the place of a model, each made from a good one.

The tests open each and look at what was refused and read; benchmarks/hostile.py measures what that took.
"""

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTForImageClassification, ViTModel

CONFIG, PROCESSOR, INDEX, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors.index.json", "model.safetensors"

Change = Callable[[Path], None]


def config(**values) -> Change:
    """Sets keys of config.json; None takes a key away."""
    return lambda folder: edit(folder / CONFIG, values)


def processor(**values) -> Change:
    return lambda folder: edit(folder / PROCESSOR, values)


def edit(file: Path, values: dict) -> None:
    content = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def write(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def without(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def tensors(change: Callable[[dict], dict]) -> Change:
    def apply(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})
    return apply


def renamed(old: str, new: str) -> Change:
    return lambda folder: (folder / old).rename(folder / new)


def both(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


def backbone(folder: Path) -> None:
    settings = {"image_size": 32, "patch_size": 4, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 3}
    ViTModel(ViTConfig(intermediate_size=96, **settings)).save_pretrained(folder)


def sharded(folder: Path) -> None:
    model = ViTForImageClassification.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="100KB")


def labels(values: dict) -> Change:
    return config(id2label=values, label2id=None)


def many(count: int) -> Change:
    return labels({str(index): f"c{index}" for index in range(count)})


huge_header = struct.pack("<Q", 1 << 40) + b"{" + bytes(200_000)
lying_header = struct.pack("<Q", 2) + b"[]" + bytes(100)


def header(metadata: dict | None = None, more: int = 0, **described) -> bytes:
    """A safetensors file that describes its one tensor so, followed by 2000 bytes; `more` tensors are empty."""
    table = {"classifier.weight": {"dtype": "F32", "shape": [10, 48], "data_offsets": [0, 1920]} | described}
    table |= {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(more)}
    text = json.dumps(table | ({"__metadata__": metadata} if metadata else {})).encode()
    return struct.pack("<Q", len(text)) + text + bytes(2000)


def weights(**described) -> Change:
    return lambda folder: write(WEIGHTS, header(**described))(folder)


def crumbs(count: int, **more) -> Change:
    """Weights in very many files, each as `header` makes them."""
    def apply(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        names = [f"model-{n:05d}.safetensors" for n in range(count)]
        for name in names:
            (folder / name).write_bytes(header(**more))
        (folder / INDEX).write_text(json.dumps({"weight_map": dict(zip(map(str, range(count)), names, strict=True))}))
    return apply


# name: (what is done to a good model, what the refusal says, the files that were read before it)
HOSTILE = {
    "no config": (without(CONFIG), "holds no config.json.*owner has to save", []),
    "huge config": (write(CONFIG, b"{}" + b" " * 2_000_000), "2,000,002 bytes; the limit is 2,000,000", []),
    "config no json": (write(CONFIG, b"{model_type: vit"), "config.json is damaged.*lies on the Hub like that", [CONFIG, CONFIG]),
    "config not utf-8": (write(CONFIG, b'{"a": "\xff\xfe"}'), "config.json is damaged.*lies on the Hub like that", [CONFIG, CONFIG]),
    "resnet": (config(model_type="resnet"), "model_type is resnet; only plain Vision", [CONFIG]),
    "no model type": (config(model_type=None), "model_type is None; only plain Vision", [CONFIG]),
    "markup": (config(model_type="<script>alert(1)</script>"), "model_type is .script.alert.1...script.;", [CONFIG]),
    "remote code": (config(model_type="mine", auto_map={"AutoModel": "run.Me"}), "only plain Vision", [CONFIG]),
    "backbone": (backbone, "no classification head.*Fine-tune it first: accelerate launch -m training.train --model "
                           "strangers/backbone --dataset", [CONFIG]),
    "secret backbone": (both(backbone, config(architectures=None)), "no classification head.*Fine-tune",
                        [CONFIG, PROCESSOR, WEIGHTS]),
    "masked autoencoder": (config(architectures=["ViTForMaskedImageModeling"]), "no classification head", [CONFIG]),
    "too wide": (config(hidden_size=1281, num_attention_heads=1), "width is 1,281, the limit is 1,280", [CONFIG]),
    "too deep": (config(num_hidden_layers=41), "number of layers is 41, the limit is 40", [CONFIG]),
    "too sharp": (config(image_size=516), "picture side in pixels is 516, the limit is 512", [CONFIG]),
    "too many labels": (many(1001), "number of labels is 1,001, the limit is 1,000", [CONFIG]),
    "too many parameters": (config(intermediate_size=10 ** 9), "number of parameters is .*, the limit is 100,000,000", [CONFIG]),
    "too much attention": (config(num_attention_heads=48, image_size=128), "attention maps of one picture in bytes is 605,160,000", [CONFIG]),
    "pixels as patches": (config(image_size=512, patch_size=1), "attention maps of one picture", [CONFIG]),
    "huge activations": (config(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=500_000, image_size=512,
                                patch_size=16),
                         "activations of its MLPs for one picture in bytes is 2,050,000,000, the limit is 300,000,000", [CONFIG]),
    "absurd number": (config(num_hidden_layers=10 ** 400), "must be a whole number from 1 up to a billion", [CONFIG]),
    "no layers": (config(num_hidden_layers=0), "num_hidden_layers in config.json is 0", [CONFIG]),
    "negative width": (config(hidden_size=-48), "hidden_size in config.json is -48", [CONFIG]),
    "width true": (config(hidden_size=True), "hidden_size in config.json is True", [CONFIG]),
    "width text": (config(hidden_size="48"), "must be a whole number", [CONFIG]),
    "heads do not divide": (config(num_attention_heads=5), "width 48 does not divide into 5", [CONFIG]),
    "patches do not divide": (config(patch_size=5), "patches of 5x5 px do not tile pictures of 32x32", [CONFIG]),
    "oblong patches": (config(patch_size=[4, 8]), "patches of 4x8 px do not tile", [CONFIG]),
    "grey": (config(num_channels=1), "wants 1 colour channels; pictures here have 3", [CONFIG]),
    "activation": (config(hidden_act="os.system"), "activation os.system is none of", [CONFIG]),
    "epsilon": (config(layer_norm_eps=math.inf), "layer_norm_eps inf is not", [CONFIG]),
    "labels a list": (labels(["cat"]), "id2label is not a table", [CONFIG]),
    "deep config": (write(CONFIG, b"[" * 1_900_000), "config.json is damaged.*lies on the Hub like that", [CONFIG, CONFIG]),
    "long labels": (both(labels({str(n): "<b>" * 600 for n in range(1000)}), processor(resample=99)), "resample in .* no known filter",
                    [CONFIG, PROCESSOR]),
    "labels with gaps": (labels({"0": "cat", "2": "dog"}), "not numbered 0 to 1", [CONFIG]),
    "no processor": (without(PROCESSOR), "holds no preprocessor_config.json", [CONFIG]),
    "processor of giants": (processor(size={"height": 10 ** 6, "width": 10 ** 6}), "does not lead to the 32x32 px",
                            [CONFIG, PROCESSOR]),
    "processor divides by zero": (processor(image_std=[0, 0, 0]), "image_std.*usable numbers", [CONFIG, PROCESSOR]),
    "processor of two colours": (processor(image_mean=[0.5, 0.5]), "image_mean.*usable numbers", [CONFIG, PROCESSOR]),
    "processor filter": (processor(resample=99), "resample in .* no known filter", [CONFIG, PROCESSOR]),
    "processor maybe": (processor(do_resize="yes"), "do_resize .* neither true nor false", [CONFIG, PROCESSOR]),
    "pickle": (both(renamed(WEIGHTS, "pytorch_model.bin")), "can run code.*Convert it.*safetensors/convert", [CONFIG, PROCESSOR]),
    "no weights": (without(WEIGHTS), "holds no weights", [CONFIG, PROCESSOR]),
    "index leads away": (both(without(WEIGHTS), write(INDEX, b'{"weight_map": {"a": "../../../etc/passwd.safetensors"}}')),
                         "does not list safetensors files beside it", [CONFIG, PROCESSOR, INDEX]),
    "index of pickles": (both(renamed(WEIGHTS, "a.bin"), write(INDEX, b'{"weight_map": {"a": "a.bin"}}')),
                         "does not list safetensors files beside it", [CONFIG, PROCESSOR, INDEX]),
    "missing shard": (both(sharded, lambda folder: min(folder.glob("model-*")).unlink()), "model-00001-of-.*.safetensors is missing, 1 of",
                      [CONFIG, PROCESSOR, INDEX]),
    "empty weights": (write(WEIGHTS, b""), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "huge header": (write(WEIGHTS, huge_header), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "no header": (write(WEIGHTS, lying_header), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "long header": (weights(more=350_000), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "many tensors": (weights(more=3000), "number of tensors is 3,001, the limit is 2,000",
                     [CONFIG, PROCESSOR, WEIGHTS, WEIGHTS]),
    "crumbs": (crumbs(1000), "number of weight files is 1,000, the limit is 8", [CONFIG, PROCESSOR, INDEX]),
    "fat crumbs": (crumbs(8, metadata={"note": "x" * 245_000}), "do not belong together", [
        CONFIG, PROCESSOR, INDEX, *(f"model-{n // 2:05d}.safetensors" for n in range(16))]),
    "crowd": (lambda folder: [(folder / f"{n}.txt").touch() for n in range(2000)] and (folder / WEIGHTS).unlink(), "holds no weights", [CONFIG, PROCESSOR]),
    "negative shape": (weights(shape=[-10, -48]), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "shape of words": (weights(shape=["10", "48"]), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "type of lists": (weights(dtype=[]), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "tensor too few": (weights(), "do not belong together", [CONFIG, PROCESSOR, WEIGHTS]),
    "other classes": (many(7), "the head should be 7x48, and is 10x48", [CONFIG, PROCESSOR, WEIGHTS]),
    "integers": (tensors(lambda found: found | {"classifier.bias": torch.zeros(10, dtype=torch.int8)}),
                 "weights are of the type I8", [CONFIG, PROCESSOR, WEIGHTS]),
    "wrapped": (tensors(lambda found: {f"module.{key}": value for key, value in found.items()}),
                "module.classifier.weight instead of classifier.weight", [CONFIG, PROCESSOR, WEIGHTS]),
    "missing layer": (tensors(lambda found: {key: value for key, value in found.items() if ".layer.2." not in key}),
                      "do not belong together: .* parameters expected", [CONFIG, PROCESSOR, WEIGHTS]),
    "phantom layers": (tensors(lambda found: found | {f"phantom.{n}": torch.zeros(9) for n in range(200)}),
                       "do not belong together: .* parameters expected", [CONFIG, PROCESSOR, WEIGHTS]),
    "deeper config": (config(num_hidden_layers=4), "do not belong together", [CONFIG, PROCESSOR, WEIGHTS]),
}
# Only the weights themselves show it: (what is done, what the refusal says)
FOUND_IN_THE_WEIGHTS = {
    "other names": (tensors(lambda found: {key.replace("layernorm_before", "norm1"): value for key, value in found.items()}),
                    "not those of a ViT classifier: 6 missing"),
    "other shapes": (tensors(lambda found: found | {"vit.embeddings.cls_token": torch.zeros(48)}),
                     "other shapes than its config.json says"),
    "not a number": (tensors(lambda found: found | {"classifier.bias": torch.full((10,), math.nan)}), "no finite numbers"),
    "infinity": (tensors(lambda found: found | {"vit.layernorm.weight": torch.full((48,), math.inf)}), "no finite numbers"),
    "truncated": (lambda folder: write(WEIGHTS, (folder / WEIGHTS).read_bytes()[:-5000])(folder),
                  "damaged or incomplete.*lies on the Hub like that"),
    "pictures of another size": (processor(size={"height": 16, "width": 16}), "does not make the pictures"),
    "pictures of any size": (processor(do_resize=False), "does not make the pictures"),
}
