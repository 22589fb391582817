"""Strangers' models: what is refused, in which words, after how much was fetched; and what still opens.

Each hostile repository lies on the local Hub and is opened as a visitor would. The call log shows what was read.
"""

import json
import math
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, ViTModel

from tests.models import save_model
from vit_demo import hub_model
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.hub_model import DEFAULT_LIMITS, NO_LIMITS, Limits, read_config

CONFIG, PROCESSOR, INDEX, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors.index.json", "model.safetensors"
HEADER = 100_001  # bytes that the client asks for to read a header

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


def header(**described) -> bytes:
    """A safetensors file that describes its one tensor so, followed by 2000 bytes."""
    text = json.dumps({"classifier.weight": {"dtype": "F32", "shape": [10, 48], "data_offsets": [0, 1920]} | described}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(2000)


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
    "negative shape": (write(WEIGHTS, header(shape=[-10, -48])), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "shape of words": (write(WEIGHTS, header(shape=["10", "48"])), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "type of lists": (write(WEIGHTS, header(dtype=[])), "weights in the repository are damaged", [CONFIG, PROCESSOR, WEIGHTS]),
    "tensor too few": (write(WEIGHTS, header()), "do not belong together", [CONFIG, PROCESSOR, WEIGHTS]),
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


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("good") / "model")


@pytest.fixture
def folder(good, tmp_path) -> Path:
    """A model of one's own to spoil."""
    return shutil.copytree(good, tmp_path / "model")


@pytest.fixture
def stranger(hub, folder, request) -> str:
    """The repository of this test's case, and an empty call log."""
    case = request.node.callspec.params["case"]
    {**HOSTILE, **FOUND_IN_THE_WEIGHTS, **HARMLESS}[case][0](folder)
    name = f"strangers/{case.replace(' ', '-')}"
    hub.seed("models", name, folder)
    hub.calls.clear()
    return name


def reads(hub) -> list[tuple[str, int]]:
    """(file, bytes) of every file content sent."""
    return [(call["path"].rpartition("/")[2], call["bytes"]) for call in hub.calls
            if "/resolve/" in call["path"] and call["method"] == "GET"]


@pytest.mark.parametrize("case", HOSTILE)
def test_refused_before_any_weight_is_fetched(case, hub, stranger):
    _, message, files = HOSTILE[case]
    with pytest.raises(UserError, match=f"^{stranger}: .*{message}") as refusal:
        load(stranger, token=False)
    line = str(refusal.value)
    assert "\n" not in line and not set("<>`") & set(line) and len(line) < 500
    assert [file for file, _ in reads(hub)] == files
    assert all(size <= HEADER for file, size in reads(hub) if file.endswith(".safetensors"))
    assert not any(call["path"].endswith((".bin", ".py")) for call in hub.calls)


@pytest.mark.parametrize("case", FOUND_IN_THE_WEIGHTS)
def test_refused_after_the_weights(case, hub, stranger):
    with pytest.raises(UserError, match=f"^{stranger}: .*{FOUND_IN_THE_WEIGHTS[case][1]}") as refusal:
        load(stranger, token=False)
    assert "\n" not in str(refusal.value)
    assert [file for file, _ in reads(hub)][:4] == [CONFIG, PROCESSOR, WEIGHTS, WEIGHTS]


def test_the_corpus_is_large_enough():
    assert len(HOSTILE) + len(FOUND_IN_THE_WEIGHTS) >= 25


@pytest.mark.parametrize("case", [case for case, (_, _, files) in HOSTILE.items() if CONFIG in files])
def test_a_folder_gets_the_same_refusal_but_no_caps(case, folder):
    change, message, _ = HOSTILE[case]
    change(folder)
    cap = "the limit is" in message or "attention maps" in message
    with pytest.raises(UserError) as refusal:
        load(folder)
    assert ("the limit is" not in str(refusal.value)) if cap else str(refusal.value).startswith("model: ")


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"[" * 100_000, b'{"a": ' * 100_000, b"\x80\x04\x95", b"null", b'"{}"'])
def test_other_things_in_the_place_of_json(content):
    with pytest.raises(UserError, match="it: config.json is damaged .it holds no JSON object.; download or save it again"):
        hub_model.parse_json("it", CONFIG, content)


HARMLESS = {
    "kernel": (config(attn_implementation="strangers/kernel", _attn_implementation="strangers/kernel",
                      _attn_implementation_internal="strangers/kernel"),),
    "code": (both(config(auto_map={"AutoModelForImageClassification": "run.Me"}), write("run.py", b"raise SystemExit(1)")),),
    "quantised": (config(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}),),
    "adapter": (write("adapter_config.json", b'{"base_model_name_or_path": "strangers/other", "peft_type": "LORA"}'),),
    "other weights": (config(transformers_weights="../../elsewhere.safetensors"),),
    "pickle beside": (write("pytorch_model.bin", b"\x80\x04\x95os.system"),),
    "shards": (sharded,),
    "double names": (labels({str(n): "cat" for n in range(10)}),),
    "markup names": (labels({str(n): f"<img src=x onerror=alert({n})>\n.json" for n in range(10)}),),
    "half": (tensors(lambda found: {key: value.half() for key, value in found.items()}),),
    "damaged metrics": (write("metrics.json", b"[[["),),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_opens_all_the_same(case, hub, stranger):
    opened = load(stranger, token=False)
    assert opened.name == stranger and len(set(opened.labels)) == 10 and opened.metrics == {}
    assert opened.model.config._attn_implementation == "sdpa"
    assert opened.viewing.config._attn_implementation == "eager"
    assert all(len(label) <= 80 and label.isprintable() for label in opened.labels)
    assert {file for file, _ in reads(hub)} <= {CONFIG, PROCESSOR, INDEX, "metrics.json"} | {
        file for file, _ in reads(hub) if file.startswith("model") and file.endswith(".safetensors")}


@pytest.mark.parametrize("settings", [{}, {"patch": 8, "qkv_bias": False}, {"size": (16, 32)}, {"size": (224, 224), "patch": 16}])
def test_parameters_are_counted_without_building(tmp_path, settings):
    folder = save_model(tmp_path / "model", **settings)
    model = ViTForImageClassification.from_pretrained(folder)
    counted = read_config("it", json.loads((folder / CONFIG).read_text()), NO_LIMITS)
    assert hub_model.parameter_count(counted) == sum(parameter.numel() for parameter in model.parameters())


VIT_L = {"model_type": "vit", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
         "intermediate_size": 4096, "id2label": {str(n): str(n) for n in range(1000)}}


def test_limits():
    vit_b = read_config("vit-b", {"model_type": "vit", "id2label": VIT_L["id2label"]}, DEFAULT_LIMITS)
    assert hub_model.parameter_count(vit_b) == 86_567_656  # ViT-B/16 with 1000 classes
    with pytest.raises(UserError, match="304,326,632, the limit is 100,000,000"):
        read_config("vit-l", VIT_L, DEFAULT_LIMITS)
    assert read_config("vit-l", VIT_L, replace(Limits(), parameters=400e6)).num_labels == 1000
    assert read_config("vit-l", VIT_L, NO_LIMITS).num_labels == 1000


def test_weights_are_weighed_before_they_are_fetched():
    sizes, index = {"a.safetensors": 300_000_000, "b.safetensors": 200_000_000, INDEX: 100}, {"weight_map": {}}
    with pytest.raises(UserError, match="weights in bytes is 500,000,000, the limit is 400,000,000"):
        hub_model.choose_weights("it", sizes, lambda: {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}, DEFAULT_LIMITS)
    with pytest.raises(UserError, match="does not list"):
        hub_model.choose_weights("it", sizes, lambda: index, DEFAULT_LIMITS)


def test_older_processors_are_understood(folder):
    """As saved by the feature extractors of some years ago: one number for a size, crops, no type that exists today."""
    old = {"feature_extractor_type": "DeiTFeatureExtractor", "size": 40, "do_resize": True, "do_center_crop": True,
           "crop_size": 32, "resample": 3, "do_normalize": True, "image_mean": [0.485, 0.456, 0.406],
           "image_std": [0.229, 0.224, 0.225]}
    (folder / PROCESSOR).write_text(json.dumps(old))
    picture = torch.randint(256, (50, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    picture = Image.fromarray(picture)
    expected = ViTImageProcessorPil.from_pretrained(folder)([picture], return_tensors="pt").pixel_values
    assert torch.equal(load(folder).pixel_values([picture]), expected) and expected.shape == (1, 3, 32, 32)
