"""A trace holds together: each part is computed again from the one before it, and the whole is the model's answer."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from io import BytesIO

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from tests.models import save_model
from vit_demo.classifier import Classifier, load
from vit_demo.trace import Trace, TraceCache, trace


def picture(seed: int, size=(40, 25)) -> Image.Image:
    values = torch.randint(256, (3 * size[0] * size[1],), generator=torch.Generator().manual_seed(seed))
    return Image.frombytes("RGB", size, bytes(values.tolist()))


@pytest.fixture(scope="module", params=[((32, 32), 4), ((224, 224), 16), ((16, 32), 8)], ids=str)
def tiny(request, tmp_path_factory) -> Classifier:
    size, patch = request.param
    return load(save_model(tmp_path_factory.mktemp("models") / "tiny", size=size, patch=patch))


def test_shapes(tiny):
    seen, model = trace(tiny, picture(0)), tiny.model.config
    (rows, columns), side = seen.grid, model.patch_size
    tokens = rows * columns + 1
    assert seen.pixel_values.shape == (3, rows * side, columns * side) == tiny.pixel_values([picture(0)])[0].shape
    assert seen.patches.shape == (tokens - 1, 3, side, side) and seen.patch_embeddings.shape == (tokens - 1, 48)
    assert seen.embeddings.shape == (tokens, 48) and seen.hidden_states.shape == (4, tokens, 48)
    assert seen.attentions.shape == (3, 3, tokens, tokens) and seen.logits.shape == (10,)
    tensors = [value for field in fields(Trace) if isinstance(value := getattr(seen, field.name), torch.Tensor)]
    assert len(tensors) == 7 and all(t.dtype == torch.float32 and not t.requires_grad for t in tensors)
    assert seen.image.tobytes() == picture(0).tobytes()


def test_patches_put_back_are_the_picture(tiny):
    seen = trace(tiny, picture(1))
    unfolded = seen.patches.flatten(1).T[None]  # (1, 3*P*P, N)
    folded = torch.nn.functional.fold(unfolded, seen.pixel_values.shape[1:], tiny.model.config.patch_size,
                                      stride=tiny.model.config.patch_size)
    assert torch.equal(folded[0], seen.pixel_values)
    assert torch.equal(seen.pixel_values, tiny.pixel_values([picture(1)])[0])


def test_embeddings_are_class_token_patches_and_positions(tiny):
    seen, parts = trace(tiny, picture(2)), tiny.model.vit.embeddings
    weight, bias = parts.patch_embeddings.projection.weight, parts.patch_embeddings.projection.bias
    assert_close(seen.patches.flatten(1) @ weight.flatten(1).T + bias, seen.patch_embeddings, atol=1e-5, rtol=1e-5)
    built = torch.cat([parts.cls_token[0], seen.patch_embeddings]) + parts.position_embeddings[0]
    assert_close(built, seen.embeddings)
    assert torch.equal(seen.hidden_states[0], seen.embeddings)


def test_attention_rows_are_softmax_of_queries_and_keys(tiny):
    seen = trace(tiny, picture(3))
    assert_close(seen.attentions.sum(-1), torch.ones(seen.attentions.shape[:-1]))
    for number, layer in enumerate(tiny.model.vit.layers):
        states = layer.layernorm_before(seen.hidden_states[number])
        queries, keys = (project(states).unflatten(-1, (3, 16)).transpose(0, 1)
                         for project in (layer.attention.q_proj, layer.attention.k_proj))
        assert_close((queries @ keys.mT / 4).softmax(-1), seen.attentions[number])


def test_each_layer_leads_to_the_next_and_the_last_to_the_logits(tiny):
    seen = trace(tiny, picture(4))
    with torch.no_grad():
        for number, layer in enumerate(tiny.model.vit.layers):
            assert_close(layer(seen.hidden_states[number][None], None)[0], seen.hidden_states[number + 1])
        read_out = tiny.model.classifier(tiny.model.vit.layernorm(seen.hidden_states[-1])[0])
    assert_close(read_out, seen.logits)
    assert_close(seen.logits, tiny.logits([picture(4)])[0], atol=1e-4, rtol=0)


def test_attention_code_that_returns_no_maps_is_an_error(tmp_path):
    tiny = load(save_model(tmp_path / "tiny"))
    tiny.viewing.set_attn_implementation("sdpa")
    with pytest.raises(RuntimeError, match="0 attention maps for 3 layers"):
        trace(tiny, picture(0))


def test_traces_at_the_same_time_do_not_mix(tiny):
    alone = [trace(tiny, picture(seed)) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: trace(tiny, picture(seed)), range(12)))
    for one, other in zip(alone, together, strict=True):
        assert_close(one.hidden_states, other.hidden_states)
        assert_close(one.attentions, other.attentions)


def file(seed: int, size=(40, 25)) -> bytes:
    written = BytesIO()
    picture(seed, size).save(written, "PNG")
    return written.getvalue()


def test_the_cache_keeps_the_latest_within_its_bytes(tmp_path):
    tiny, other = load(save_model(tmp_path / "tiny")), load(tmp_path / "tiny")
    size = trace(tiny, picture(0)).nbytes
    assert size == 4 * (2 * 3 * 32 * 32 + 64 * 48 + 9 * 65 * 65 + 4 * 65 * 48 + 10) + 4 * 40 * 25
    cache = TraceCache(most_bytes=2 * size)
    first, second = cache.trace(tiny, file(0)), cache.trace(tiny, file(1))
    assert cache.trace(tiny, file(0)) is first and first.image.tobytes() == picture(0).tobytes()
    third = cache.trace(tiny, file(2))  # the second is now the one used longest ago
    assert cache.nbytes == 2 * size
    assert cache.trace(tiny, file(0)) is first and cache.trace(tiny, file(2)) is third
    assert cache.trace(tiny, file(1)) is not second
    assert cache.trace(other, file(1)) is not cache.trace(tiny, file(1))
    assert cache.trace(tiny, file(0, size=(25, 40))).image.size == (25, 40)


def test_a_kept_picture_is_not_decoded_again(tmp_path, monkeypatch):
    """A large photo takes a second, and each click asks for it."""
    tiny, cache = load(save_model(tmp_path / "tiny")), TraceCache(most_bytes=10**8)
    first = cache.trace(tiny, file(0))
    monkeypatch.setattr("vit_demo.trace.open_picture", None)
    assert cache.trace(tiny, file(0)) is first


def test_a_trace_larger_than_the_cache_is_not_kept(tmp_path):
    tiny, cache = load(save_model(tmp_path / "tiny")), TraceCache(most_bytes=1000)
    assert cache.trace(tiny, file(0)) is not cache.trace(tiny, file(0)) and cache.nbytes == 0


def test_a_trace_larger_than_the_cache_leaves_the_others_there(tmp_path):
    tiny, large = load(save_model(tmp_path / "tiny")), load(save_model(tmp_path / "large", size=(64, 64)))
    cache = TraceCache(most_bytes=2 * trace(tiny, picture(0)).nbytes)
    kept = [cache.trace(tiny, file(0)), cache.trace(tiny, file(1))]
    assert cache.trace(large, file(0)).nbytes > cache.most_bytes
    assert [cache.trace(tiny, file(0)), cache.trace(tiny, file(1))] == kept
