"""What decays and how fast each layer learns; Muon against the SVD and torch's own; schedule, average and stochastic depth."""

import copy
import math

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from training.config import TrainConfig
from training.optim import (DropPath, Muon, PatchDropout, WeightAverage, add_drop_path, add_patch_dropout, learning_rate_factor, make_optimizers, orthogonalise,
                            parameter_groups, set_learning_rate)
from vit_demo.errors import UserError

LAYERS = 3


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, hidden_size=12, num_hidden_layers=LAYERS, num_attention_heads=2,
                                               intermediate_size=24, num_labels=3))


def told(model, config) -> dict[str, tuple[bool, float, float]]:
    """Parameter name -> (by Muon?, peak learning rate, decay)."""
    adamw, muon = parameter_groups(model, config)
    by_id = {id(p): (which, group["peak"], group["weight_decay"]) for which, groups in ((False, adamw), (True, muon)) for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in adamw + muon) == len(by_id) == len(list(model.parameters()))
    return {name: by_id[id(parameter)] for name, parameter in model.named_parameters()}


def test_only_matrices_decay(vit):
    found = told(vit, TrainConfig(weight_decay=0.05))
    kept = {name for name, (_, _, decay) in found.items() if decay == 0}
    norms = {name for name in found if "norm" in name}
    assert len(norms) == 2 * (2 * LAYERS + 1)
    assert kept == norms | {name for name in found if name.endswith("bias")} | {"vit.embeddings.cls_token", "vit.embeddings.position_embeddings"}
    assert {decay for _, _, decay in found.values()} == {0.0, 0.05}
    assert found["classifier.weight"][2] == found["vit.embeddings.patch_embeddings.projection.weight"][2] == 0.05


def test_each_layer_learns_slower_than_the_one_above(vit):
    found = told(vit, TrainConfig(learning_rate=1.0, layer_decay=0.5))
    for name, (_, rate, _) in found.items():
        layer = next((i for i in range(LAYERS) if f".layers.{i}." in name or f".layer.{i}." in name), None)
        expected = 0.5 ** (LAYERS - layer) if layer is not None else 0.5 ** (LAYERS + 1) if "embeddings" in name else 1.0
        assert rate == expected, name


def test_muon_has_the_matrices_of_the_layers_and_adamw_the_rest(vit):
    found = told(vit, TrainConfig(optimizer="muon", muon_learning_rate=0.5, muon_weight_decay=0.2, weight_decay=0.1))
    by_muon = {name for name, (muon, *_) in found.items() if muon}
    assert by_muon == {name for name, p in vit.named_parameters() if ".layers." in name and p.ndim == 2} and len(by_muon) == 6 * LAYERS
    assert {found[name] for name in by_muon} == {(True, 0.5, 0.2)} and found["classifier.weight"] == (False, 1e-3, 0.1)
    adamw, muon = make_optimizers(vit, TrainConfig(optimizer="muon"), fused=False)
    assert isinstance(adamw, torch.optim.AdamW) and isinstance(muon, Muon)


def test_frozen_parameters_belong_to_no_optimiser(vit):
    try:
        vit.requires_grad_(False)
        with pytest.raises(UserError, match="nothing is left to train"):
            make_optimizers(vit, TrainConfig(), fused=False)
        vit.classifier.requires_grad_(True)
        [only] = make_optimizers(vit, TrainConfig(optimizer="muon"), fused=False)
        assert {id(p) for group in only.param_groups for p in group["params"]} == {id(p) for p in vit.classifier.parameters()}
    finally:
        vit.requires_grad_(True)


@pytest.mark.parametrize("shape", [(16, 16), (12, 30), (30, 12)])
def test_orthogonalising_keeps_the_directions_and_evens_out_the_lengths(shape):
    u, _, vh = torch.linalg.svd(torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    matrices = u * torch.linspace(1, 0.03, min(shape)) @ vh
    found = orthogonalise(matrices)
    rotated = u.mT @ found @ vh.mT  # in the matrices' own directions only the diagonal is left
    lengths = rotated.diagonal(dim1=1, dim2=2)
    assert (rotated - torch.diag_embed(lengths)).abs().max() < 1e-4
    assert 0.6 < lengths.min() and lengths.max() < 1.25
    torch.testing.assert_close(found[:1], orthogonalise(matrices[:1]))  # a matrix alone or among others
    torch.testing.assert_close(orthogonalise(1000 * matrices), found)


def test_muon_moves_as_torchs_own_does():
    """Each parameter at its group's learning rate and decay, though equal shapes of several groups are orthogonalised together."""
    torch.manual_seed(0)
    starts = [torch.randn(shape) for shape in ((20, 12), (12, 12), (20, 12), (12, 20))]
    ours, theirs = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    rates = [(0.02, 0.1), (0.02, 0.1), (0.005, 0.0), (0.005, 0.0)]
    mine = Muon([{"params": ours[:2], "lr": 0.02, "weight_decay": 0.1}, {"params": ours[2:], "lr": 0.005, "weight_decay": 0.0}])
    others = [torch.optim.Muon([weight], lr=lr, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
              for weight, (lr, decay) in zip(theirs, rates, strict=True)]
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in (mine, *others):
            optimizer.step()
    for one, other, start in zip(ours, theirs, starts, strict=True):
        moved, expected = (one - start).flatten(), (other - start).flatten()
        assert torch.cosine_similarity(moved, expected, dim=0) > 0.999  # torch iterates in bf16
        assert abs(moved.norm() / expected.norm() - 1) < 0.02


def test_layer_decay_leaves_one_iteration_a_shape(vit, monkeypatch):
    calls = []
    monkeypatch.setattr("training.optim.orthogonalise", lambda matrices: calls.append(tuple(matrices.shape)) or torch.zeros_like(matrices))
    model = copy.deepcopy(vit)
    _, muon = make_optimizers(model, TrainConfig(optimizer="muon", layer_decay=0.5), fused=False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    muon.step()
    assert len(muon.param_groups) == LAYERS and sorted(calls) == [(LAYERS, 12, 24), (LAYERS, 24, 12), (4 * LAYERS, 12, 12)]


def test_muons_step_is_momentum_then_orthogonalisation_then_decoupled_decay():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(6, 4)) for _ in range(2)] + [torch.nn.Parameter(torch.randn(4, 4))]
    before = [w.detach().clone() for w in weights]
    optimizer = Muon([{"params": weights, "lr": 0.5, "weight_decay": 0.1}])
    first, second = ([torch.randn_like(w) for w in weights] for _ in range(2))
    for gradients in (first, second):
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimizer.step()
    for weight, start, g1, g2 in zip(weights, before, first, second, strict=True):
        momentum, expected = torch.zeros_like(start), start
        for gradient in (g1, g2):
            momentum = 0.95 * momentum + 0.05 * gradient
            update = orthogonalise((0.05 * gradient + 0.95 * momentum)[None])[0]
            expected = expected * (1 - 0.5 * 0.1) - 0.5 * 0.2 * math.sqrt(max(start.shape)) * update
        torch.testing.assert_close(weight.detach(), expected)
    weights[0].grad = None
    held = weights[0].detach().clone()
    optimizer.step()
    assert torch.equal(weights[0], held)  # nothing to learn from: not even decay


def test_momentum_in_half_the_size_comes_back_bit_for_bit():
    def optimizer_of(weight):
        return Muon([{"params": [weight], "lr": 0.1}], kept=torch.bfloat16)

    torch.manual_seed(0)
    start, gradients = torch.randn(6, 4), [torch.randn(6, 4) for _ in range(4)]
    whole = torch.nn.Parameter(start.clone())
    optimizer = optimizer_of(whole)
    for number, gradient in enumerate(gradients):
        whole.grad = gradient
        optimizer.step()
        if number == 1:
            stopped, state = torch.nn.Parameter(whole.detach().clone()), copy.deepcopy(optimizer.state_dict())
    resumed = optimizer_of(stopped)
    resumed.load_state_dict(state)
    assert resumed.state[stopped]["momentum"].dtype == torch.bfloat16
    for gradient in gradients[2:]:
        stopped.grad = gradient
        resumed.step()
    assert torch.equal(stopped, whole)


def test_the_schedule():
    linear = [learning_rate_factor(step, 10, 0.2, "linear") for step in range(10)]
    assert linear == pytest.approx([0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    cosine = [learning_rate_factor(step, 10, 0.2, "cosine") for step in range(10)]
    assert cosine == pytest.approx([0.5, 1.0] + [0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])
    assert learning_rate_factor(0, 1, 0.0, "cosine") == 1 and learning_rate_factor(0, 100, 0.0, "linear") == 1


def test_every_group_follows_the_schedule_from_its_own_peak(vit):
    optimizers = make_optimizers(vit, TrainConfig(optimizer="muon", layer_decay=0.5, learning_rate=1.0, muon_learning_rate=2.0), fused=False)
    set_learning_rate(optimizers, 0.25)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            assert group["lr"] == 0.25 * group["peak"]
    assert len({group["peak"] for group in optimizers[1].param_groups}) == LAYERS


def test_the_average_is_the_exponential_one_with_a_ramp():
    model = torch.nn.Linear(1, 1, bias=False)
    frozen = torch.nn.Parameter(torch.tensor(3.0), requires_grad=False)
    model.register_parameter("frozen", frozen)
    values = [1.0, 2.0, -1.0, 5.0]
    model.weight.data.fill_(values[0])
    average = WeightAverage(model, decay=0.2)
    expected = values[0]
    for step, value in enumerate(values):
        model.weight.data.fill_(value)
        average.update(step)
        decay = min(0.2, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.averages["weight"].item() == pytest.approx(expected)
    assert list(average.averages) == ["weight"]
    average.swap()
    assert model.weight.item() == pytest.approx(expected) and average.averages["weight"].item() == 5.0
    average.swap()
    assert model.weight.item() == 5.0 and average.averages["weight"].item() == pytest.approx(expected)


def test_a_skipped_branch_is_zero_and_the_others_make_up_for_it():
    torch.manual_seed(0)
    branch, dropped = torch.ones(4000, 2, 3), DropPath(0.25)
    found = dropped(branch)
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(found.amin((1, 2)), found.amax((1, 2)))  # whole pictures
    assert abs(found.mean() - 1) < 0.03
    assert torch.equal(dropped.eval()(branch), branch)


def test_stochastic_depth_changes_neither_names_nor_answers(vit):
    pixels = torch.randn(2, 3, 8, 8)
    names, answers = list(vit.state_dict()), vit.eval()(pixels).logits
    add_drop_path(vit, 0.4)
    try:
        assert [layer.dropout.chance for layer in vit.vit.layers] == pytest.approx([0.0, 0.2, 0.4])
        assert list(vit.state_dict()) == names and torch.equal(vit.eval()(pixels).logits, answers)
        vit.train()
        torch.manual_seed(0)
        assert not torch.equal(vit(pixels).logits, answers)
        for layer in vit.vit.layers:
            layer.dropout.chance = 1 - 1e-9  # every branch is skipped: a layer passes on what it gets
        hidden = vit(pixels, output_hidden_states=True).hidden_states
        assert all(torch.equal(hidden[0], later) for later in hidden[1:LAYERS])
    finally:
        add_drop_path(vit, 0.0)
        vit.eval()


def test_a_share_of_the_patches_is_left_out_and_each_picture_has_its_own_draw():
    torch.manual_seed(0)
    tokens = torch.arange(5.0).view(1, 5, 1).expand(600, 5, 2).contiguous()  # a class token, 0, and patches 1 to 4
    dropped = PatchDropout(0.5)
    found = dropped(tokens)
    assert found.shape == (600, 3, 2) and (found[:, 0] == 0).all()
    assert (found[:, 1, 0] != found[:, 2, 0]).all() and torch.equal(found[..., 0], found[..., 1])  # whole tokens, none twice
    shares = torch.bincount(found[:, 1:, 0].long().flatten(), minlength=5)[1:] / 600
    assert shares.tolist() == pytest.approx([0.5] * 4, abs=0.07)
    assert PatchDropout(0.99)(tokens).shape[1] == 2  # one patch at least
    assert torch.equal(dropped.eval()(tokens), tokens)


def test_patch_dropout_changes_neither_names_nor_answers(vit):
    pixels = torch.randn(2, 3, 8, 8)
    names, answers = list(vit.state_dict()), vit.eval()(pixels).logits
    add_patch_dropout(vit, 0.5)
    try:
        assert list(vit.state_dict()) == names and torch.equal(vit.eval()(pixels).logits, answers)
        hidden = vit.train()(pixels, output_hidden_states=True).hidden_states[-1]
        assert hidden.shape[1] == 1 + 2  # of four patches
    finally:
        add_patch_dropout(vit, 0.0)
        vit.eval()
