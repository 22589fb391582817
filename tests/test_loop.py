"""A step against plain PyTorch, accumulation against none, evaluation against counting."""

import copy

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from transformers import ViTConfig, ViTForImageClassification

from tests.tiny import noise
from training import augment
from training.augment import View
from training.batches import EpochBatches, augmented, parts
from training.config import TrainConfig
from training.data import Pictures
from training.draws import epoch_order
from training.loop import diverged, evaluate, train_epoch
from training.optim import WeightAverage, add_drop_path, add_patch_dropout, learning_rate_factor, make_optimizers
from vit_demo.errors import UserError

VIEW = View(8, 2, torch.full((3,), 0.5), torch.full((3,), 0.5))
STILL = dict(crop_padding=0, flip=False, warmup=0.0)
COUNT = 22


@pytest.fixture
def pictures():
    return Pictures(noise(COUNT, 8), torch.arange(COUNT) % 3, ("a", "b", "c"))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, hidden_size=12, num_hidden_layers=2, num_attention_heads=2,
                                               intermediate_size=24, num_labels=3, initializer_range=0.2))


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


def steps_of(model, pictures, accelerator, config, epoch=0, skip=0, optimizers=None):
    optimizers = optimizers or make_optimizers(model, config, fused=False)
    batches = EpochBatches(pictures, config, epoch, VIEW)
    return list(train_epoch(model, optimizers, None, batches, accelerator, epoch, 5 * len(batches), skip))


@pytest.mark.parametrize("shape", [(16, 64), (64, 16)])
def test_a_long_picture_is_padded_in_proportion_to_its_short_side(shape):
    levels, draws = noise(3, 64)[..., : shape[0], : shape[1]], augment.epoch_draws(3, 0, seed=0, epoch=0)
    found = augmented(levels, draws, TrainConfig(crop_padding=4), VIEW)  # of 32 px
    assert torch.equal(found, VIEW.normalised(VIEW.resized(augment.crop_and_flip(levels, draws, 2, True))))


@pytest.mark.parametrize("side", [1, 8])
def test_of_a_small_picture_no_more_is_mirrored_than_there_is(side):
    levels, draws = noise(3, 8)[..., :side, :side], augment.epoch_draws(3, 0, seed=0, epoch=0)
    draws[:, [augment.CROP_Y, augment.CROP_X]] = torch.tensor([[0.0, 0.999]])  # as far as it goes
    assert augmented(levels, draws, TrainConfig(crop_padding=31), VIEW).isfinite().all()


def same_weights(one, other, tolerance):
    """But for the keys' biases: softmax does not see them, their gradient is rounding alone, and AdamW makes full steps of it."""
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        if not name.endswith("k_proj.bias"):
            assert (a - b).abs().max() <= tolerance, (name, (a - b).abs().max())


def test_a_step_is_smoothed_cross_entropy_clipped_and_adamw(model, pictures, accelerator):
    config = TrainConfig(batch_size=8, label_smoothing=0.1, clip=0.5, schedule="linear", **STILL)
    plain = copy.deepcopy(model)
    optimizer = make_optimizers(plain, config, fused=False)[0]
    done = steps_of(model, pictures, accelerator, config)
    assert [step.number for step in done] == [0, 1] and len(done) == COUNT // 8  # what is left over waits for another epoch
    order = epoch_order(COUNT, config.seed, 0)
    for number, step in enumerate(done):
        ids = order[8 * number : 8 * number + 8]
        pixel_values = (pictures.pixels[ids].float() / 255 - 0.5) / 0.5
        logits = plain(pixel_values).logits
        loss = F.cross_entropy(logits, pictures.labels[ids], label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * learning_rate_factor(number, 10, 0.0, "linear")
        optimizer.step()
        optimizer.zero_grad()
        torch.testing.assert_close(step.loss, loss.detach())
        assert step.correct == (logits.argmax(1) == pictures.labels[ids]).sum() and step.count == 8
    same_weights(model, plain, 1e-6)


def descent(model):
    return [torch.optim.SGD([{"params": list(model.parameters()), "peak": 1.0}], lr=1.0)]  # sees how large a gradient is


def test_four_passes_make_the_step_of_one(model, pictures, accelerator):
    mixed = dict(mixup=0.8, cutmix=1.0, randaugment=2, erasing=0.5, warmup=0.0, clip=0.0)
    one, four = copy.deepcopy(model), copy.deepcopy(model)
    whole = steps_of(one, pictures, accelerator, TrainConfig(batch_size=8, accumulation=1, **mixed), optimizers=descent(one))
    parted = steps_of(four, pictures, accelerator, TrainConfig(batch_size=8, accumulation=4, **mixed), optimizers=descent(four))
    for a, b in zip(whole, parted, strict=True):
        torch.testing.assert_close(a.loss, b.loss, rtol=0, atol=1e-6)
        assert a.correct == b.correct
    same_weights(one, four, 1e-6)
    assert (one.classifier.weight - model.classifier.weight).abs().max() > 1e-3


def test_but_for_what_the_model_itself_drops(model, pictures, accelerator):
    add_drop_path(model, 0.5)
    one, four = (steps_of(copy.deepcopy(model), pictures, accelerator, TrainConfig(batch_size=8, accumulation=passes, **STILL)) for passes in (1, 4))
    assert not torch.allclose(one[0].loss, four[0].loss, atol=1e-3)


def test_parts_cover_a_batch_once_and_two_processes_see_what_one_does(pictures):
    config = TrainConfig(batch_size=8, accumulation=2, mixup=0.8, cutmix=1.0, randaugment=1)
    assert sorted(i for rank in range(2) for part in parts(config, rank, 2) for i in range(8)[part]) == list(range(8))
    batches = EpochBatches(pictures, config, 0, VIEW)
    [whole] = [made for made in batches.passes(1, [slice(0, 8)])]
    for rank in range(2):
        shares = parts(config, rank, 2)
        for part, (pixel_values, targets, labels) in zip(shares, batches.passes(1, shares), strict=False):
            torch.testing.assert_close(pixel_values, whole[0][part], rtol=0, atol=1e-5)
            torch.testing.assert_close(targets, whole[1][part])
            assert torch.equal(labels, whole[2][part])


def test_a_picture_is_augmented_alike_in_a_batch_of_any_size(pictures):
    small = TrainConfig(batch_size=2, randaugment=2, erasing=0.5)
    large = TrainConfig(batch_size=11, randaugment=2, erasing=0.5)
    views = []
    for config in (small, large):
        batches = EpochBatches(pictures, config, 3, VIEW)
        views.append(torch.cat([pixels for pixels, _, _ in batches.passes(0, [slice(0, config.batch_size)])]))
    assert torch.equal(*views)
    other = EpochBatches(pictures, large, 4, VIEW)
    again = torch.cat([pixels for pixels, _, _ in other.passes(0, [slice(0, 11)])])
    assert not torch.equal(views[1][other.order.argsort()], again[other.order.argsort()])


def test_skipping_steps_gives_the_rest_of_the_epoch(model, pictures, accelerator):
    config = TrainConfig(batch_size=4, drop_path=0.1, mixup=0.8)
    optimizers = make_optimizers(model, config, fused=False)
    whole = steps_of(model, pictures, accelerator, config, epoch=1, optimizers=optimizers)
    assert [step.number for step in whole] == [5, 6, 7, 8, 9]
    assert [step.learning_rate_factor for step in whole] == [learning_rate_factor(n, 25, config.warmup, config.schedule) for n in range(5, 10)]
    rest = steps_of(model, pictures, accelerator, config, epoch=1, skip=3, optimizers=optimizers)
    assert [step.number for step in rest] == [8, 9]
    ids = EpochBatches(pictures, config, 1, VIEW)
    assert torch.equal(ids.ids(3), epoch_order(COUNT, 0, 1)[12:16])


def test_mixing_pairs_pictures_of_one_batch(pictures):
    config = TrainConfig(batch_size=8, mixup=1.0, label_smoothing=0.0, **STILL)
    batches = EpochBatches(pictures, config, 0, VIEW)
    plan = augment.mix_plan(config, 0, COUNT, 8)
    ids, partner, share = batches.ids(1), plan["partner"][1], plan["share"][1]
    [_, (pixels, targets, labels)] = batches.passes(0, [slice(0, 8)])
    own, other = ((pictures.pixels[i].float() / 255 - 0.5) / 0.5 for i in (ids, ids[partner]))
    torch.testing.assert_close(pixels, other + (own - other) * share.view(-1, 1, 1, 1))
    expected = F.one_hot(pictures.labels[ids], 3) * share[:, None] + F.one_hot(pictures.labels[ids[partner]], 3) * (1 - share[:, None])
    torch.testing.assert_close(targets, expected)
    assert torch.equal(labels, pictures.labels[ids])


def test_evaluation_counts_every_picture_once(model, pictures, accelerator):
    pixels = (pictures.pixels.float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        logits = model.eval()(pixels).logits
    model.train()
    for batch in (5, 22, 500):  # 22 = 4 x 5 + 2: the last one is smaller, and nothing is padded
        found = evaluate(model, pictures, VIEW, accelerator, batch)
        assert found["count"] == COUNT and found["accuracy"] == (logits.argmax(1) == pictures.labels).sum().item() / COUNT
        assert found["loss"] == pytest.approx(F.cross_entropy(logits, pictures.labels).item(), abs=1e-6)


def test_a_loss_that_is_no_number_stops_within_the_step(model, pictures, accelerator):
    config = TrainConfig(batch_size=4, learning_rate=1.0, **STILL)
    optimizers = make_optimizers(model, config, fused=False)
    seen = []
    with pytest.raises(UserError, match=r"the loss is nan in step 2 at learning rate .*: what was saved before is intact; start again with a lower --learning-rate"):
        for step in train_epoch(model, optimizers, None, EpochBatches(pictures, config, 0, VIEW), accelerator, 0, 50):
            seen.append(step.number)
            if step.number == 1:
                with torch.no_grad():
                    model.classifier.weight.fill_(float("nan"))
    assert seen == [0, 1]


def test_a_loss_that_diverged_is_told_with_the_rates_at_work_and_what_to_lower():
    def told(optimizer):
        return diverged("the loss is nan", 3, 0.5, TrainConfig(learning_rate=1e-3, muon_learning_rate=4e-3, optimizer=optimizer))

    assert told("adamw") == "the loss is nan in step 3 at learning rate 5.00e-04: what was saved before is intact; start again with a lower --learning-rate, or more --warmup"
    assert told("muon") == ("the loss is nan in step 3 at learning rate 5.00e-04 (Muon's 2.00e-03): what was saved before is intact; "
                            "start again with a lower --muon-learning-rate or --learning-rate, or more --warmup")


def test_the_average_follows_every_step(model, pictures, accelerator):
    config = TrainConfig(batch_size=8, **STILL)
    average = WeightAverage(model, 0.9)
    expected = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in train_epoch(model, make_optimizers(model, config, fused=False), average, EpochBatches(pictures, config, 0, VIEW), accelerator, 0, 10):
        decay = min(0.9, (1 + step.number) / (10 + step.number))
        for name, parameter in model.named_parameters():
            expected[name].mul_(decay).add_(parameter.detach(), alpha=1 - decay)
    for name, tensor in average.averages.items():
        torch.testing.assert_close(tensor, expected[name])


def test_patches_are_dropped_in_the_first_share_of_the_epochs_alone(model, pictures, accelerator):
    config = TrainConfig(batch_size=8, epochs=4, patch_dropout=0.5, patch_dropout_until=0.5)
    add_patch_dropout(model, 0.5)
    seen = []
    model.vit.embeddings.register_forward_hook(lambda module, given, found: seen.append(found.shape[1]))
    for epoch in range(config.epochs):
        steps_of(model, pictures, accelerator, config, epoch)
        assert set(seen) == {1 + (2 if epoch < 2 else 4)}  # a class token, and patches of four
        seen.clear()
