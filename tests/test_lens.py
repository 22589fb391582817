from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from tests.explain_models import SHAPES, model, outputs, residual_stream
from tests.models import save_model
from vit_demo.chapters import depth
from vit_demo.chapters.scene import Look
from vit_demo.classifier import load
from vit_demo.explain.lens import contributions, logit_lens, logit_parts, norms, patch_similarity
from vit_demo.samples import SAMPLES
from vit_demo.trace import trace


@pytest.mark.parametrize("name", SHAPES)
def test_the_lens_at_the_last_layer_is_the_answer(name):
    lens = logit_lens(model(name), residual_stream(name))
    config = model(name).config
    assert lens.shape[0] == config.num_hidden_layers + 1 and lens.shape[2] == config.num_labels
    assert_close(lens[-1, 0], outputs(name).logits[0], atol=1e-5, rtol=0)


def test_the_answer_stands_at_the_end_even_if_rounding_alone_chose_it(tmp_path):
    classifier = load(save_model(tmp_path / "model"))
    torch.nn.init.zeros_(classifier.model.classifier.weight)
    seen = trace(classifier, Image.open(SAMPLES[0][0]))
    look = Look(classifier, replace(seen, logits=1e-7 * torch.arange(10)))  # the last of ten that are equal to the lens
    assert 'after layer <span class="mono">3</span> it says truck' in depth.scene(look)["story"]


@pytest.mark.parametrize("name", SHAPES)
def test_the_lens_reads_a_patch_as_if_it_were_cls(name):
    hidden = residual_stream(name)
    with torch.no_grad():
        expected = model(name).classifier(model(name).vit.layernorm(hidden[1, 4]))
    assert_close(logit_lens(model(name), hidden)[1, 4], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_contributions_add_up_to_the_residual_stream(name):
    hidden = residual_stream(name)
    added = contributions(model(name), hidden)
    assert_close(hidden[:-1] + added.attention + added.mlp, hidden[1:], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_parts_add_up_to_the_logits(name):
    hidden = residual_stream(name)
    parts = logit_parts(model(name), hidden, contributions(model(name), hidden))
    total = parts.embedding + parts.attention.sum(0) + parts.mlp.sum(0) + parts.constant
    assert_close(total, outputs(name).logits[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SHAPES)
def test_a_part_is_what_the_logits_lose_without_it(name):
    """With the spread of the last norm held as it was on this picture."""
    hidden, norm, classifier = residual_stream(name), model(name).vit.layernorm, model(name).classifier
    final = hidden[-1, 0]
    spread = (final.var(correction=0) + norm.eps).sqrt()

    def logits(stream):
        return classifier((stream - stream.mean()) / spread * norm.weight + norm.bias)

    assert_close(logits(final), outputs(name).logits[0], atol=1e-4, rtol=0)
    added = contributions(model(name), hidden)
    parts = logit_parts(model(name), hidden, added)
    for part, written in ((parts.embedding, hidden[0, 0]), (parts.attention[1], added.attention[1, 0]), (parts.mlp[0], added.mlp[0, 0])):
        assert_close(part, logits(final) - logits(final - written), atol=1e-4, rtol=0)
    assert_close(parts.constant, logits(torch.zeros_like(final)), atol=1e-5, rtol=0)


def test_similarity_and_norms_at_each_depth():
    hidden = residual_stream("16x24/4")
    similarity = patch_similarity(hidden)
    assert similarity.shape == (3, 24, 24)
    assert_close(similarity[2, 5, 9], cosine_similarity(hidden[2, 6], hidden[2, 10], dim=0))
    assert_close(similarity.diagonal(dim1=1, dim2=2), torch.ones(3, 24))
    assert_close(norms(hidden)[1, 3], hidden[1, 3].square().sum().sqrt())
