"""The model a run starts from: a pretrained ViT with a head for these classes, or a new one; and its processor."""

import json
import os
from contextlib import suppress

import torch
from huggingface_hub import HfApi
from PIL.Image import Resampling
from safetensors import SafetensorError
from transformers import PreTrainedModel, ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from training.config import TrainConfig
from training.lineage import ANSWER_SECONDS, base_revision, located
from vit_demo import hub_address, hub_model
from vit_demo.errors import UserError

HEAD = ("classifier.weight", "classifier.bias")
FILTERS = (Resampling.NEAREST, Resampling.BILINEAR, Resampling.BICUBIC)  # those that training.augment has on the device


def make_processor(config: TrainConfig) -> tuple[ViTImageProcessorPil, list[str]]:
    """(the processor of the run's model, lines to tell the user), before the model is built."""
    said = []
    if config.model is None:
        size = config.image_size or 32
        processor = ViTImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    else:
        base = pretrained_config(config.model)
        size = config.image_size or base.image_size
        processor = pretrained_processor(config.model, base)
        if processor.resample not in FILTERS:
            said.append(f"its processor resizes with {Resampling(processor.resample).name.lower()}; this run, and the model it writes, with bicubic")
            processor.resample = Resampling.BICUBIC
    processor.size = {"height": size, "width": size}
    processor.do_convert_rgb = True
    return processor, said


def pinned(source: str) -> str:
    """--model -> NAME@COMMIT, where it is on the Hub and the Hub can tell which commit is meant now; else as it is. With that among its
    settings a run reads config, weights and processor of one commit, and tells it however often it is resumed."""
    address = located(source)
    if address.pinned:
        return f"{address.id}@{address.revision}"
    if os.path.isdir(source) or not hub_address.IDENTIFIER.fullmatch(address.id):
        return source
    with suppress(Exception):  # the reading itself says what is wrong, or takes what is kept
        return f"{address.id}@{HfApi().model_info(address.id, revision=address.revision, timeout=ANSWER_SECONDS).sha}"
    return source


def pretrained_config(source: str) -> ViTConfig:
    """config.json of a folder or Hub repository; only plain ViTs (and masked autoencoders of one) are taken."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    address = located(source)
    try:
        raw, _ = ViTConfig.get_config_dict(address.id, revision=address.revision)
    except OSError as error:
        cause = error.__cause__
        if isinstance(cause, GatedRepoError):
            raise UserError(f"{source} is gated: ask for access on its page, then hf auth login") from None
        if isinstance(cause, RevisionNotFoundError):
            raise UserError(f"{address.id} has no revision {address.revision}: name a branch, a tag or a commit that its page on the Hub shows") from None
        if isinstance(cause, RepositoryNotFoundError):
            raise UserError(f"no model {source!r}: neither a folder here nor a repository you can read (private: hf auth login)") from None
        raise UserError(f"cannot read {source!r}: no config.json there, or no network; say with --model (beside --resume too) where it lies now") from None
    if not raw:
        raise UserError(f"{source} holds no config.json: give the folder of a model, or its name on the Hub")
    if raw.get("model_type") not in ("vit", "vit_mae"):
        raise UserError(f"{source} is a {raw.get('model_type') or 'model without model_type'}, not a ViT: choose a repository whose config.json says model_type vit")
    for name in ("image_size", "patch_size"):
        sides = raw.get(name) if isinstance(raw.get(name), (list, tuple)) else [raw.get(name)]
        if len(set(sides)) > 1 or raw.get("num_channels", 3) != 3:
            raise UserError(f"{source} does not take square colour pictures (image_size {raw.get('image_size')}, patch_size {raw.get('patch_size')}): choose another model")
        raw[name] = sides[0]
    known = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps", "image_size",
             "patch_size", "num_channels", "qkv_bias", "initializer_range", "id2label")
    return ViTConfig(**{name: raw[name] for name in known if raw.get(name) is not None})


def build(config: TrainConfig, class_names: tuple[str, ...]) -> tuple[ViTForImageClassification, list[str]]:
    """(model in float32, lines to tell the user)."""
    labels = {"id2label": dict(enumerate(class_names)), "label2id": {name: i for i, name in enumerate(class_names)}}
    if config.model is None:
        size = config.image_size or 32
        check_divisible(size, config.patch_size)
        torch.manual_seed(config.seed)
        model = ViTForImageClassification(ViTConfig(
            image_size=size, patch_size=config.patch_size, hidden_size=config.hidden_size, num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads, intermediate_size=config.intermediate_size, **labels))
        said = [f"a new ViT: {size} px, patch {config.patch_size}, {model.num_parameters() / 1e6:.2f} M parameters"]
    else:
        model, said = pretrained(config, labels)
    hub_model.read_config(config.model or "this model", json.loads(model.config.to_json_string()), hub_model.NO_LIMITS)  # as it is opened when it is done
    freeze(model, config.train_last_blocks)
    return model, said


def pretrained(config: TrainConfig, labels: dict) -> tuple[ViTForImageClassification, list[str]]:
    base = pretrained_config(config.model)
    torch.manual_seed(config.seed)  # for a new head
    target = ViTConfig(**{**base.to_diff_dict(), **labels})
    model, missing = read_weights(ViTForImageClassification, config.model, config=target)
    if strange := missing - set(HEAD):
        raise UserError(f"{config.model} lacks {len(strange)} tensors of a ViT ({', '.join(sorted(strange)[:3])} …): it is not a plain ViT")
    commit = base_revision(config.model)
    said = [f"pretrained: {f'{located(config.model).id}, commit {commit[:12]}' if commit else config.model}, {model.num_parameters() / 1e6:.2f} M parameters"]
    if missing:
        said.append(f"its head is replaced by a new one for {len(labels['id2label'])} classes")
    elif base.id2label != labels["id2label"]:
        said.append(f"its head knows as many classes by other names ({', '.join(base.id2label.values())[:60]} …): it is trained on from there")
    if config.image_size and config.image_size != base.image_size:
        said.append(f"position embeddings interpolated from {base.image_size} px to {config.image_size} px")
        model = with_image_size(model, config.image_size)
    return model, said


def read_weights(kind: type[PreTrainedModel], source: str, **settings) -> tuple[PreTrainedModel, set[str]]:
    """(a model of the library's class `kind` in float32, names of its tensors that `source` lacks or has in another shape)."""
    address = located(source)
    try:
        model, info = kind.from_pretrained(address.id, revision=address.revision or "main", ignore_mismatched_sizes=True, use_safetensors=True, dtype=torch.float32,
                                           attn_implementation="sdpa", output_loading_info=True, **settings)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot read the weights of {source}: {str(error).splitlines()[0][:200]} (only safetensors are read)") from None
    return model, set(info["missing_keys"]) | {key[0] for key in info["mismatched_keys"]}


def with_image_size(model: ViTForImageClassification, size: int) -> ViTForImageClassification:
    """The same weights for another input size: position embeddings interpolated as the library does (bicubic)."""
    check_divisible(size, model.config.patch_size)
    embeddings = model.vit.embeddings
    tokens = 1 + (size // model.config.patch_size) ** 2
    with torch.no_grad():
        positions = embeddings.interpolate_pos_encoding(torch.zeros(1, tokens, model.config.hidden_size), size, size)
    resized = ViTForImageClassification(ViTConfig(**{**model.config.to_diff_dict(), "image_size": size}))
    resized.load_state_dict({**model.state_dict(), "vit.embeddings.position_embeddings": positions})
    return resized


def pretrained_processor(source: str, base: ViTConfig) -> ViTImageProcessorPil:
    """A processor that resizes, scales to 0..1 and normalises, by constants that make of a byte what that of `source` makes of it."""
    address = located(source)
    try:
        raw, _ = ViTImageProcessorPil.get_image_processor_dict(address.id, revision=address.revision)
    except OSError:
        raise UserError(f"{source} has no preprocessor_config.json: without it nobody knows how its pixels were normalised") from None
    given = hub_model.read_processor(source, {name: value for name, value in raw.items() if name not in ("size", "crop_size")}, base)  # a run has its own size
    scale = 255 * given.rescale_factor if given.do_rescale else 255  # what is 1 here is that there
    mean, std = (torch.tensor(value if given.do_normalize else plain, dtype=torch.float64).expand(3) / scale
                 for value, plain in ((given.image_mean, 0.0), (given.image_std, 1.0)))
    return ViTImageProcessorPil(resample=given.resample, image_mean=mean.tolist(), image_std=std.tolist())


def check_divisible(size: int, patch: int) -> None:
    if size % patch:
        below, above = size // patch * patch, (size // patch + 1) * patch
        raise UserError(f"--image-size {size} is not divisible by the patch of {patch} px: take {f'{below} or ' if below else ''}{above}")


def freeze(model: ViTForImageClassification, last_blocks: int | None) -> None:
    """Train only the head, the final LayerNorm and the last so many layers (None: everything)."""
    if last_blocks is None:
        return
    layers = model.vit.layers
    if last_blocks > len(layers):
        raise UserError(f"--train-last-blocks {last_blocks}: the model has {len(layers)} layers: take at most {len(layers)}, or leave the flag out to train everything")
    model.requires_grad_(False)
    trained = [model.classifier, model.vit.layernorm if last_blocks else None, *layers[len(layers) - last_blocks :]]
    for module in filter(None, trained):
        module.requires_grad_(True)
