"""What a run starts from: heads, positions, freezing, processors; and what is no ViT."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification, ViTImageProcessorPil, ViTMAEConfig, ViTMAEForPreTraining

from tests.tiny import noise, save_tiny_model
from training.augment import View
from training.config import TrainConfig, read_preset
from training.model import build, make_processor, pinned, with_image_size
from vit_demo import classifier
from vit_demo.errors import UserError

NAMES = ("cat", "dog", "frog")


def fine_tuned(folder, names=("a", "b"), **more):
    return build(TrainConfig(model=str(folder), dataset="x", **more), names)


def pixels(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_a_new_model_is_what_the_preset_says_and_the_seed_makes_it():
    config = TrainConfig(**read_preset("tiny-cpu"))
    model, said = build(config, NAMES)
    again, _ = build(config, NAMES)
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.image_size, model.config.patch_size) == (192, 6, 32, 4)
    assert said == [f"a new ViT: 32 px, patch 4, {model.num_parameters() / 1e6:.2f} M parameters"]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "frog"} and model.config.label2id == {"cat": 0, "dog": 1, "frog": 2}
    assert build(TrainConfig(**read_preset("cifar-patch4")), NAMES)[0].num_parameters() < 6e6


def test_a_head_of_another_size_is_replaced_and_that_is_said(tmp_path):
    folder = save_tiny_model(tmp_path, NAMES)
    model, said = fine_tuned(folder)
    assert "its head is replaced by a new one for 2 classes" in said
    kept = ViTForImageClassification.from_pretrained(folder)
    assert model.classifier.weight.shape == (2, 16) and model.config.id2label == {0: "a", 1: "b"}
    torch.testing.assert_close(model.vit(pixels(16)).last_hidden_state, kept.vit(pixels(16)).last_hidden_state)
    assert torch.equal(model.classifier.weight, fine_tuned(folder)[0].classifier.weight)  # by the seed
    assert not torch.equal(model.classifier.weight, fine_tuned(folder, seed=1)[0].classifier.weight)


def test_a_head_that_fits_is_kept_and_other_names_are_said(tmp_path):
    folder = save_tiny_model(tmp_path, NAMES)
    kept = ViTForImageClassification.from_pretrained(folder)
    model, said = fine_tuned(folder, NAMES)
    assert len(said) == 1 and torch.equal(model.classifier.weight, kept.classifier.weight)
    _, said = fine_tuned(folder, ("x", "y", "z"))
    assert "its head knows as many classes by other names (cat, dog, frog …): it is trained on from there" in said


def test_half_precision_weights_are_trained_in_float32(tmp_path):
    folder = save_tiny_model(tmp_path)
    ViTForImageClassification.from_pretrained(folder).half().save_pretrained(folder)
    assert load_file(folder / "model.safetensors")["classifier.weight"].dtype == torch.float16
    assert {p.dtype for p in fine_tuned(folder)[0].parameters()} == {torch.float32}


def test_positions_are_interpolated_as_the_library_does(tmp_path):
    folder = save_tiny_model(tmp_path, NAMES)
    model, said = fine_tuned(folder, NAMES, image_size=40)
    assert "position embeddings interpolated from 16 px to 40 px" in said and model.config.image_size == 40
    kept = ViTForImageClassification.from_pretrained(folder)
    torch.testing.assert_close(model(pixels(40)).logits, kept(pixels(40), interpolate_pos_encoding=True).logits)
    same = with_image_size(kept, 16)
    torch.testing.assert_close(same(pixels(16)).logits, kept(pixels(16)).logits)
    with pytest.raises(UserError, match="--image-size 30 is not divisible by the patch of 8 px: take 24 or 32"):
        fine_tuned(folder, NAMES, image_size=30)
    with pytest.raises(UserError, match="--image-size 3 is not divisible by the patch of 4 px: take 4$"):
        build(TrainConfig(image_size=3), NAMES)
    with pytest.raises(UserError, match="--image-size 30 is not divisible by the patch of 4 px"):
        build(TrainConfig(image_size=30), NAMES)


@pytest.mark.parametrize("blocks, trained", [(None, {"embeddings", "0", "1", "layernorm", "classifier"}), (0, {"classifier"}),
                                             (1, {"1", "layernorm", "classifier"}), (2, {"0", "1", "layernorm", "classifier"})])
def test_freezing_leaves_the_head_and_the_last_blocks(tmp_path, blocks, trained):
    model, _ = fine_tuned(save_tiny_model(tmp_path), train_last_blocks=blocks)
    parts = {"embeddings": model.vit.embeddings, "0": model.vit.layers[0], "1": model.vit.layers[1], "layernorm": model.vit.layernorm, "classifier": model.classifier}
    for name, module in parts.items():
        assert {p.requires_grad for p in module.parameters()} == {name in trained}, name


def test_more_last_blocks_than_there_are_layers_are_refused_with_both_numbers(tmp_path):
    with pytest.raises(UserError, match="^--train-last-blocks 3: the model has 2 layers: take at most 2, or leave the flag out to train everything$"):
        fine_tuned(save_tiny_model(tmp_path), train_last_blocks=3)


def test_a_masked_autoencoder_becomes_a_classifier(tmp_path):
    torch.manual_seed(0)
    shape = dict(image_size=16, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    mae = ViTMAEForPreTraining(ViTMAEConfig(**shape, decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=16))
    mae.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    model, said = fine_tuned(tmp_path)
    assert "its head is replaced by a new one for 2 classes" in said
    theirs = dict(mae.vit.named_parameters())
    assert torch.equal(model.vit.embeddings.patch_embeddings.projection.weight, theirs["embeddings.patch_embeddings.projection.weight"])
    pairs = [(p, theirs[name]) for name, p in model.vit.named_parameters() if name in theirs]
    assert len(pairs) >= 36 and all(torch.equal(a, b) for a, b in pairs)


def test_what_is_no_vit_is_refused(tmp_path):
    ResNetForImageClassification(ResNetConfig(hidden_sizes=[8], depths=[1], embedding_size=8)).save_pretrained(tmp_path / "resnet")
    with pytest.raises(UserError, match="is a resnet, not a ViT: choose a repository whose config.json says model_type vit"):
        fine_tuned(tmp_path / "resnet")
    folder = save_tiny_model(tmp_path / "few")
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if "layer.1" not in name and "layers.1" not in name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="lacks 16 tensors of a ViT .*: it is not a plain ViT"):
        fine_tuned(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 30)
    with pytest.raises(UserError, match="cannot read the weights of"):
        fine_tuned(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="only safetensors are read"):
        fine_tuned(folder)
    oblong = save_tiny_model(tmp_path / "oblong")
    settings = json.loads((oblong / "config.json").read_text())
    (oblong / "config.json").write_text(json.dumps({**settings, "image_size": [16, 32]}))
    with pytest.raises(UserError, match="does not take square colour pictures"):
        fine_tuned(oblong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no config.json: give the folder of a model"):
        fine_tuned(tmp_path / "empty")


def test_a_hub_id_that_is_not_there(hub):
    with pytest.raises(UserError, match="no model 'nobody/nothing': neither a folder here nor a repository you can read"):
        make_processor(TrainConfig(model="nobody/nothing"))


@pytest.fixture
def versions(api, repo, tmp_path) -> list[str]:
    """The commits of a base model that was trained on: 3 classes first, 4 on main."""
    return [api.upload_folder(repo_id=repo, folder_path=save_tiny_model(tmp_path / str(seed), names=tuple("abcd")[:classes], seed=seed)).oid
            for seed, classes in ((1, 3), (2, 4))]


@pytest.mark.parametrize("named", [lambda repo, commit: f"{repo}@{commit}", lambda repo, commit: f"{repo}@v1",
                                   lambda repo, commit: f"https://huggingface.co/{repo}/tree/{commit}"], ids=["commit", "tag", "page"])
@pytest.mark.parametrize("size", [None, 24])
def test_a_revision_of_a_model_on_the_hub_is_named_as_for_the_app(api, repo, versions, tmp_path, named, size):
    old, new = versions
    api.create_tag(repo, tag="v1", revision=old)
    source = pinned(named(repo, old))
    assert source == f"{repo}@{old}"
    make_processor(TrainConfig(model=source))
    model, said = build(TrainConfig(model=source, image_size=size), ("a", "b", "c"))
    assert said[0].startswith(f"pretrained: {repo}, commit {old[:12]}, ")
    there = ViTForImageClassification.from_pretrained(tmp_path / "1")
    assert torch.equal(model.classifier.weight, there.classifier.weight) and torch.equal(model.vit.layers[0].mlp.fc1.weight, there.vit.layers[0].mlp.fc1.weight)
    assert pinned(repo) == f"{repo}@{new}" and pinned(str(tmp_path / "1")) == str(tmp_path / "1")


def test_what_the_hub_cannot_tell_the_commit_of_stays_as_it_is_named(hub):
    assert [pinned(source) for source in ("nobody/nothing", "nobody/nothing@v1", "vit", "gone/far/away")] == ["nobody/nothing", "nobody/nothing@v1", "vit", "gone/far/away"]


def test_a_revision_that_is_not_there(repo, versions):
    with pytest.raises(UserError, match=f"^{repo} has no revision v9: name a branch, a tag or a commit that its page on the Hub shows$"):
        make_processor(TrainConfig(model=f"{repo}@v9"))
    with pytest.raises(UserError, match="is no revision; name a branch"):
        make_processor(TrainConfig(model=f"{repo}@.."))


def test_a_folder_that_went_away(tmp_path):
    with pytest.raises(UserError, match=r"no config.json there, or no network; say with --model \(beside --resume too\) where it lies now"):
        make_processor(TrainConfig(model=str(tmp_path / "gone")))


def test_the_pretrained_models_own_constants_are_kept(tmp_path):
    folder = save_tiny_model(tmp_path)
    ViTImageProcessorPil(size={"height": 16, "width": 16}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], resample=3).save_pretrained(folder)
    processor, said = make_processor(TrainConfig(model=str(folder)))
    assert (list(processor.image_mean), list(processor.image_std), processor.resample, said) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], 3, [])
    assert (processor.size["height"], processor.size["width"]) == (16, 16) and processor.do_convert_rgb
    assert make_processor(TrainConfig(model=str(folder), image_size=24))[0].size["height"] == 24


@pytest.mark.parametrize("constants", [
    dict(do_rescale=False, image_mean=[127.5] * 3, image_std=[127.5] * 3), dict(rescale_factor=1 / 127.5, image_mean=[1, 1, 1], image_std=[1, 1, 1]),
    dict(do_rescale=False, do_normalize=False), dict(image_mean=0.4, image_std=[0.2] * 3)])
def test_the_model_is_given_what_its_own_processor_would_give_it(tmp_path, constants):
    folder = save_tiny_model(tmp_path)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, **constants}))
    picture = Image.fromarray(noise(1, 16)[0].permute(1, 2, 0).numpy())
    given = classifier.load(folder).pixel_values([picture])
    processor, _ = make_processor(TrainConfig(model=str(folder)))
    torch.testing.assert_close(processor(picture, return_tensors="pt").pixel_values, given, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(View.of(processor, torch.device("cpu")).normalised(noise(1, 16).float()), given, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("changed, says", [({"hidden_act": "mish"}, "its activation mish is none of gelu"), ({"image_size": 20}, "its patches of 8x8 px do not tile pictures of 20x20 px")])
def test_what_could_not_be_opened_when_it_is_done_is_refused_before_it_is_trained(tmp_path, changed, says):
    folder = save_tiny_model(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    ViTForImageClassification(ViTConfig(**{**config, **changed})).save_pretrained(folder)
    with pytest.raises(UserError, match=says):
        fine_tuned(folder)


def test_processors_that_do_something_else_become_one_that_is_known(tmp_path):
    folder = save_tiny_model(tmp_path)
    ViTImageProcessorPil(size={"height": 16, "width": 16}, resample=1, do_normalize=False, do_convert_rgb=False).save_pretrained(folder)
    processor, said = make_processor(TrainConfig(model=str(folder)))
    assert said == ["its processor resizes with lanczos; this run, and the model it writes, with bicubic"] and processor.resample == 3
    found = processor([Image.fromarray(p.permute(1, 2, 0).numpy()) for p in noise(1)], return_tensors="pt").pixel_values
    torch.testing.assert_close(found, noise(1) / 255)  # mean 0, deviation 1: not normalised, as before
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="has no preprocessor_config.json"):
        make_processor(TrainConfig(model=str(folder)))


def test_the_configs_of_real_models_are_understood(data):
    config = TrainConfig(model=str(data / "vit-tiny"), image_size=96)
    processor, _ = make_processor(config)
    model, said = build(config, NAMES)
    assert processor.size["height"] == model.config.image_size == 96 and model.vit.embeddings.position_embeddings.shape == (1, 37, 192)
    assert [line.split(":")[0] for line in said] == ["pretrained", "its head is replaced by a new one for 3 classes", "position embeddings interpolated from 224 px to 96 px"]
    assert isinstance(model.config, ViTConfig)
