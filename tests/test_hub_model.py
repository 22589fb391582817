"""Strangers' models: what is refused, in which words, after how much was fetched; and what still opens.

Each hostile repository lies on the local Hub and is opened as a visitor would. The call log shows what was read.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.hostile import (
    CONFIG,
    FOUND_IN_THE_WEIGHTS,
    HOSTILE,
    INDEX,
    PROCESSOR,
    WEIGHTS,
    both,
    config,
    labels,
    sharded,
    tensors,
    write,
)
from tests.models import save_model
from vit_demo import hub_model
from vit_demo.classifier import load
from vit_demo.errors import UserError
from vit_demo.hub_model import DEFAULT_LIMITS, NO_LIMITS, Limits, read_config

HEADER = constants.SAFETENSORS_MAX_HEADER_LENGTH  # bytes; the client asks for 100 kB first


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
    cap = "the limit is" in message or "for one picture" in message or "of one picture" in message
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


@pytest.mark.parametrize("shape, side, patch", [
    ((1280, 32, 16), 224, 14), ((1024, 24, 16), 384, 16), ((1024, 24, 16), 224, 14), ((768, 12, 12), 224, 8),
    ((768, 12, 12), 384, 16), ((768, 12, 12), 512, 32), ((384, 12, 6), 512, 16), ((192, 12, 3), 512, 16)])
def test_what_real_models_compute_is_within_the_limits(shape, side, patch):
    width, layers, heads = shape
    raw = {"model_type": "vit", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 4 * width,
           "image_size": side, "patch_size": patch}
    assert read_config("it", raw, replace(DEFAULT_LIMITS, parameters=700e6)).patch_size == patch


def test_a_narrow_model_of_few_parameters_may_compute_too_much():
    """The limit is on tokens x neurons x layers: as many fit in one layer as in three with a third each."""
    raw = {"model_type": "vit", "hidden_size": 4, "num_attention_heads": 1, "image_size": 512, "patch_size": 16}  # 1025 tokens
    for layers, neurons in [(1, 73_170), (3, 24_390)]:
        assert read_config("it", raw | {"num_hidden_layers": layers, "intermediate_size": neurons}, DEFAULT_LIMITS)
        with pytest.raises(UserError, match=r"for one picture in bytes is 300,.*, the limit is 300,000,000; .* lift it with --no-limits$"):
            read_config("it", raw | {"num_hidden_layers": layers, "intermediate_size": neurons + 1}, DEFAULT_LIMITS)


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
