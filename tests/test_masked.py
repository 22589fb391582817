"""A masked autoencoder begins with true positions, counts what it sees, learns, and fills in."""

import math
from types import SimpleNamespace

import pytest
import torch
from transformers import ViTMAEConfig

from training.masked import filled_in, made, reconstruct, seen_patches


def tiny(**more):
    """8 px, patches of 2: 16 of them."""
    return made(ViTMAEConfig(**dict(image_size=8, patch_size=2, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, norm_pix_loss=True,
                                    decoder_hidden_size=32, decoder_num_hidden_layers=1, decoder_num_attention_heads=1, decoder_intermediate_size=128) | more), seed=0)


def test_encoder_and_decoder_know_where_a_patch_is():
    """Sines and cosines of column and row without their mean (He et al. 2021), which stay so; none for the class token."""
    model = tiny(hidden_size=16)
    for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        quarter = positions.shape[-1] // 4
        expected = torch.zeros(1 + 16, 4 * quarter)
        for patch in range(16):
            row, column = divmod(patch, 4)
            for k in range(quarter):
                for part, place in enumerate((column, row)):
                    angle = place / 10_000 ** (k / quarter)
                    expected[1 + patch, 2 * part * quarter + k] = math.sin(angle)
                    expected[1 + patch, (2 * part + 1) * quarter + k] = math.cos(angle)
        expected[1:] -= sum(expected[1:]) / 16
        assert torch.allclose(positions[0], expected, atol=1e-6) and not positions.requires_grad


@pytest.mark.parametrize(("ratio", "seen"), [(0.0, 16), (0.01, 15), (0.75, 4), (0.9, 1), (0.95, 0)])
def test_as_many_patches_are_counted_as_the_encoder_sees(ratio, seen):
    model = tiny(mask_ratio=ratio)
    assert seen_patches(model) == (seen, 16)
    assert model.vit(torch.zeros(1, 3, 8, 8)).last_hidden_state.shape[1] == 1 + seen  # the class token's too


def test_who_guesses_patches_without_mean_and_spread_gets_the_true_ones_back():
    model, picture = tiny(norm_pix_loss=True), 3 + 5 * torch.randn(2, 3, 8, 8)
    truth = model.patchify(picture)
    guess = (truth - truth.mean(-1, keepdim=True)) / truth.std(-1, keepdim=True)
    model.decoder.register_forward_hook(lambda *_: SimpleNamespace(logits=guess))
    _, filled = filled_in(model, picture, torch.rand(2, 16))
    torch.testing.assert_close(filled, picture)


def test_what_is_always_at_one_place_is_learned():
    """One picture of noise: whoever knows where a patch was can fill it in, and the mean of all patches is a poor guess."""
    model = tiny()
    picture, optimizer = torch.randn(1, 3, 8, 8).expand(16, -1, -1, -1), torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(100):
        loss, _ = reconstruct(model, picture, None, None)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.3
    noise = torch.rand(16, 16)
    visible, filled = filled_in(model.eval(), picture, noise)
    hidden = noise.argsort(1).argsort(1) >= 4  # the four of least noise are seen
    hidden = hidden.reshape(16, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(visible, torch.where(hidden, 0, picture))
    assert torch.equal(torch.where(hidden, 0, filled), visible)
    assert (filled - picture).square().mean() < 0.3 * picture.var() < visible.sub(picture).square().mean()
