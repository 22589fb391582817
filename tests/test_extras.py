"""The explorer's extra files: what they say is what the model does, and they stay small."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.tiny import noise, pil, save_tiny_model
from training import extras, report
from vit_demo.classifier import load


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(save_tiny_model(tmp_path_factory.mktemp("extras") / "model"))


def test_energy_quantiles_of_few_are_the_sorted_energies():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0], [5.0, 1.0]])
    assert_close(extras.energy_quantiles(logits), torch.tensor([-5.01815, -2.12693, -0.69315]), atol=1e-5, rtol=0)


def test_energy_quantiles_of_many_rank_a_new_value_as_all_would():
    logits = torch.randn(5000, 10, generator=torch.Generator().manual_seed(0))
    quantiles, all_energies = extras.energy_quantiles(logits), -logits.logsumexp(1)
    assert len(quantiles) == extras.QUANTILES and (quantiles.diff() >= 0).all()
    for value in (-4.0, -3.0, -2.0):
        assert_close((quantiles < value).float().mean(), (all_energies < value).float().mean(), atol=2e-3, rtol=0)


def test_balanced_takes_turns_among_the_classes():
    labels = torch.tensor([0] * 50 + [1] * 50 + [2] * 3)
    rows = extras.balanced(labels, 13, seed=0)
    assert labels[rows].bincount().tolist() == [5, 5, 3]
    assert len(rows.unique()) == 13 and (rows.diff() > 0).all()
    assert torch.equal(rows, extras.balanced(labels, 13, seed=0))
    assert not torch.equal(rows, extras.balanced(labels, 13, seed=1))
    assert len(extras.balanced(labels, 999, seed=0)) == 103


@pytest.mark.parametrize(("layers", "width", "size"), [(12, 192, 500), (12, 768, 185), (24, 1024, 76)])
def test_the_bank_fits_its_bytes(layers, width, size):
    config = SimpleNamespace(num_hidden_layers=layers, hidden_size=width)
    assert extras.bank_size(config) == size
    assert size * (2 * layers * width + 3 * 32 * 32) <= extras.BANK_BYTES


def test_files_hold_the_models_own_features_and_pictures(tiny, tmp_path):
    train, labels = noise(40, size=32), torch.arange(40) % 3
    held_out_logits = report.predict(tiny, noise(30, seed=1))
    facts = extras.write_extras(tmp_path, tiny, held_out_logits, train, labels, held_out="test")
    assert json.loads((tmp_path / extras.FACTS_FILE).read_text()) == facts
    tensors = load_file(tmp_path / extras.TENSORS_FILE)
    assert_close(tensors["energies"], (-held_out_logits.logsumexp(1)).sort().values)
    rows = facts["bank"]["rows"]
    assert torch.equal(tensors["bank_labels"], labels[rows]) and torch.equal(tensors["bank_thumbnails"], train[rows])
    with torch.no_grad():
        hidden = tiny.model(tiny.pixel_values([pil(train[rows[7]])]), output_hidden_states=True).hidden_states
    for layer in (1, 2):
        cls = hidden[layer][0, 0]
        assert_close(tensors["bank"][7, layer - 1].float(), cls / cls.norm(), atol=1e-3, rtol=0)
    assert {path.name for path in tmp_path.iterdir()} == {extras.TENSORS_FILE, extras.FACTS_FILE}


def test_a_picture_of_the_bank_is_its_own_nearest_neighbour(tiny):
    train = noise(20, size=32)
    bank, _ = extras.feature_bank(tiny, report.pictures(train), batch_size=7)
    cosine = bank[:, 1].float() @ bank[:, 1].float().T
    assert torch.equal(cosine.argmax(1), torch.arange(20))
    assert_close(cosine.diag(), torch.ones(20), atol=2e-3, rtol=0)
