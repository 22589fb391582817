"""What a GPU asks of the step, seen without one: everything lies on the device, nothing of it is asked for, and what is compiled
stays compiled.

PyTorch's meta device has shapes and no numbers. An operation between it and the CPU raises, and so does every question that
would make the host wait for a GPU: `.item()`, a truth value, a boolean mask.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch._dynamo.testing import CompileCounter
from transformers import ViTConfig, ViTForImageClassification, ViTMAEConfig, ViTMAEForPreTraining

from tests.tiny import noise
from training import batches, loop
from training.augment import View
from training.batches import EpochBatches, Tables, draw
from training.config import TrainConfig
from training.data import Pictures
from training.loop import evaluate, train_epoch
from training.masked import reconstruct
from training.optim import WeightAverage, add_drop_path, add_patch_dropout, make_optimizers
from training.run import UNMASKED, attend

META = torch.device("meta")
COUNT, STEPS = 22, 2
SHAPE = dict(image_size=16, patch_size=4, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
# All that a step can do; the pictures are enlarged from 8 to 16 px.
EVERYTHING = dict(batch_size=8, epochs=4, optimizer="muon", layer_decay=0.8, mixup=0.8, cutmix=1.0, mix_probability=1.0, mix_until=0.5,
                  randaugment=2, erasing=0.3, drop_path=0.2, patch_dropout=0.5, patch_dropout_until=0.75, clip=1.0, ema=0.9)


def classifier() -> nn.Module:
    model = ViTForImageClassification(ViTConfig(**SHAPE, num_labels=3))
    add_drop_path(model, 0.2)
    add_patch_dropout(model, 0.5)
    return model


def autoencoder() -> nn.Module:
    return ViTMAEForPreTraining(ViTMAEConfig(**SHAPE, decoder_hidden_size=8, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
                                             decoder_intermediate_size=16))


@pytest.fixture
def on_meta(monkeypatch):
    """The device in accelerate's place. The loss alone travels to the host, behind the work and asked for a step later."""

    class OnItsWay:
        arrived = None

        def __init__(self, step):
            self.step = step

        def check(self, config):
            pass

    monkeypatch.setattr(loop, "Watched", OnItsWay)
    return SimpleNamespace(device=META, process_index=0, num_processes=1, no_sync=lambda model: nullcontext(), backward=lambda loss: loss.backward())


def there(value):
    return value.to(META) if torch.is_tensor(value) else value


def view(device: torch.device) -> View:
    return View(16, 2, torch.full((3,), 0.5, device=device), torch.full((3,), 0.5, device=device))


def pictures() -> Pictures:
    return Pictures(noise(COUNT, 8), torch.arange(COUNT) % 3, ("a", "b", "c"))


def steps_on_meta(accelerator, make_model, objective, **changed) -> list[loop.Step]:
    config = TrainConfig(**{**EVERYTHING, **changed})
    model = make_model().to(META)
    tables = draw(config, COUNT, 0, torch.device("cpu"))  # drawn by the host, then moved
    plan = {name: there(tensor) for name, tensor in tables.plan.items()} if tables.plan else None
    epoch = EpochBatches(pictures().to(META), config, 0, view(META), Tables(there(tables.order), there(tables.draws), tables.cut, plan))
    average = WeightAverage(model, config.ema)
    return list(train_epoch(model, make_optimizers(model, config, fused=False), average, epoch, accelerator, 0, 10, objective=objective))


@pytest.mark.parametrize("changed", [{}, {"cutmix": 0.0}, {"mixup": 0.0}, {"mixup": 0.0, "cutmix": 0.0}, {"optimizer": "adamw"}, {"accumulation": 4}])
def test_a_training_step_stays_on_the_device_and_asks_nothing_of_it(on_meta, changed):
    done = steps_on_meta(on_meta, classifier, loop.classify, **changed)
    assert len(done) == STEPS and {step.loss.device for step in done} == {step.correct.device for step in done} == {META}


def test_nor_does_a_step_of_masked_autoencoding(on_meta):
    done = steps_on_meta(on_meta, autoencoder, reconstruct, mixup=0.0, cutmix=0.0, drop_path=0.0, patch_dropout=0.0)
    assert len(done) == STEPS and {step.loss.device for step in done} == {META}


def test_evaluation_asks_for_three_sums_at_its_end(on_meta):
    asked = []
    on_meta.reduce = lambda sums, how: asked.append((sums.device, sums.shape, how)) or torch.tensor([2.0, 1.0, 4.0])
    assert evaluate(classifier().to(META), pictures().to(META), view(META), on_meta, 5) == {"loss": 0.5, "accuracy": 0.25, "count": 4}
    assert asked == [(META, (3,), "sum")]


@pytest.mark.parametrize("asks", [lambda loss: loss.item(), lambda loss: bool(loss > 0), lambda loss: loss[loss > 0], lambda loss: loss + torch.ones(2)])
def test_a_step_that_asked_or_mixed_devices_would_be_noticed(on_meta, asks):
    def nosy(model, *given):
        loss, right = loop.classify(model, *given)
        asks(loss)
        return loss, right

    with pytest.raises((RuntimeError, NotImplementedError)):
        steps_on_meta(on_meta, classifier, nosy)


def test_compiled_the_step_is_whole_and_is_compiled_no_more_than_it_has_kinds():
    """fullgraph raises where a graph would break. Kinds: mixup, cutmix and neither for the input; learning from some
    patches and from all for the model; measuring, which is in between, is not compiled."""
    torch._dynamo.reset()
    config = TrainConfig(**{**EVERYTHING, "mix_probability": 0.7})
    accelerator, data = Accelerator(cpu=True), pictures()
    inputs, passes = CompileCounter(), CompileCounter()
    make = torch.compile(batches.made, dynamic=False, fullgraph=True, backend=inputs)
    model = classifier()
    compiled = torch.compile(model, fullgraph=True, backend=passes)
    optimizers, average = make_optimizers(model, config, fused=True), WeightAverage(model, config.ema)
    kinds = set()
    for epoch in range(config.epochs):
        epoch_batches = EpochBatches(data, config, epoch, view(torch.device("cpu")), made=make)
        kinds |= {None} if epoch_batches.cut is None else set(epoch_batches.cut)
        assert len(list(train_epoch(compiled, optimizers, average, epoch_batches, accelerator, epoch, 4 * STEPS))) == STEPS
        evaluate(model, data, view(torch.device("cpu")), accelerator, 11)
    assert kinds == {None, True, False} and (inputs.frame_count, passes.frame_count) == (3, 2)


@pytest.mark.parametrize("make", [classifier, autoencoder])
def test_no_attention_of_a_compiled_step_is_masked(make):
    """A GPU's fused kernels take no mask that is all ones, as transformers 5.17 makes one while it is compiled."""
    torch._dynamo.reset()
    found = []

    def look(graph, inputs):
        found.extend(node.kwargs.get("attn_mask") for node in graph.graph.nodes if node.target is torch.nn.functional.scaled_dot_product_attention)
        return graph.forward

    model = make()
    attend(model, UNMASKED)
    torch.compile(model, backend=look)(pixel_values=torch.zeros(2, 3, 16, 16))
    assert len(found) >= 2 and set(found) == {None}


def test_so_is_a_step_of_masked_autoencoding():
    torch._dynamo.reset()
    config = TrainConfig(**{**EVERYTHING, "mixup": 0.0, "cutmix": 0.0, "drop_path": 0.0, "patch_dropout": 0.0})
    model, passes = autoencoder(), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, backend=passes)
    optimizers, average = make_optimizers(model, config, fused=True), WeightAverage(model, config.ema)
    for epoch in range(2):
        epoch_batches = EpochBatches(pictures(), config, epoch, view(torch.device("cpu")))
        assert len(list(train_epoch(compiled, optimizers, average, epoch_batches, Accelerator(cpu=True), epoch, 4 * STEPS, objective=reconstruct))) == STEPS
    assert passes.frame_count == 1
