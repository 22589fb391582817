"""Chapter 6 in a real browser, above: what is read after a layer, and what is like what there, is what plain transformers gives."""

import re

import pytest
import torch
from PIL import Image
from transformers import ViTForImageClassification, ViTImageProcessorPil

from tests.browser import CHROMIUM, canvases, same, choose, go, folder, address, chromium, faults, open_page, page, nothing_went_wrong  # noqa: F401 (the latter are fixtures)
from vit_demo.chapters.scene import number, percent
from vit_demo.draw import pack, unpack
from vit_demo.explain.lens import patch_similarity
from vit_demo.samples import SAMPLES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
SAMPLE, PATCH, AFTER = 6, 10, 1  # of three layers


@pytest.fixture(scope="module")
def model(folder):
    return ViTForImageClassification.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def hidden(folder, model):
    """(L+1,T,D)"""
    inputs = ViTImageProcessorPil.from_pretrained(folder)(Image.open(SAMPLES[SAMPLE][0]).convert("RGB"), return_tensors="pt")
    with torch.no_grad():
        return torch.cat(model(**inputs, output_hidden_states=True).hidden_states)


@pytest.fixture
def early(page):
    """Chapter 6 about the sample, read after the first layer, patch 10 chosen."""
    choose(page, SAMPLE)
    go(page, 6)
    page.fill(".card > .slider input", str(AFTER))
    page.focus(".side .picture")
    for key in ("Escape", "ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.wait_for_function("!vit.frame.line.busy")
    return page


@torch.no_grad()
def test_what_is_read_after_a_layer_is_what_it_says_there(early, model, hidden):
    shares, labels = model.classifier(model.vit.layernorm(hidden)).softmax(-1), model.config.id2label
    ranked = shares[-1, 0].argsort(descending=True).tolist()
    light = shares[:, 1:, ranked[0]]
    same(early.eval_on_selector_all(".card .picture .veil rect", "rects => rects.map(rect => 1 - rect.style.opacity / 0.86)"), light[AFTER] / light.max(), 0.002)
    assert early.inner_text(".card .scale >> nth=0").split("\n")[-1] == percent(light.max().item())

    def said(token: int) -> list[str]:
        top = shares[AFTER, token].topk(3)
        return [f"{labels[index]} {percent(share)}" for share, index in zip(*(part.tolist() for part in top), strict=True)]

    assert early.inner_text(".card figcaption.mono >> nth=0") == f"patch {PATCH}: {' · '.join(said(PATCH + 1))}"
    assert [early.inner_text(f"[data-live={name}]") for name in ("layer", "says", "cls")] == [str(AFTER), said(PATCH + 1)[0], " · ".join(said(0))]
    assert early.text_content(".chapter > .check p >> nth=0") == f"How sure the class token is of {labels[ranked[0]]} after layer {AFTER}: {percent(shares[AFTER, 0, ranked[0]].item())}."
    first = shares[0, 0].argmax().item()  # said before the first layer
    followed = ranked[:4] + [first] * (first not in ranked[:4])
    curves = [f"{labels[index]}: {', '.join(percent(share) for share in shares[:, 0, index].tolist())}" for index in followed]
    assert early.get_attribute(".card .chart >> nth=0", "aria-label") == f"layer. {'; '.join(curves)}"


@torch.no_grad()
def test_patches_that_give_the_answer_are_framed_and_counted(early, model, hidden):
    said, label = model.classifier(model.vit.layernorm(hidden)).argmax(-1), model.config.id2label
    answer = said[-1, 0].item()
    for after, held in ((0, "its own patch and place alone"), (1, "what that token has gathered by then, of all the others too"), (3, "what that token has gathered by then, of all the others too")):
        early.fill(".card > .slider input", str(after))
        early.wait_for_function("!vit.frame.line.busy")
        saying = [patch for patch in range(64) if said[after, patch + 1] == answer]
        assert early.eval_on_selector_all(".card .row .rings rect", "rects => rects.map(r => Math.floor(r.x.baseVal.value) + 8 * Math.floor(r.y.baseVal.value))") == saying
        told = early.inner_text(".card .row figcaption >> nth=0")
        already = " already" if after < 3 else ""
        assert told == (f"{len(saying)} of 64 patches{already} say{'s' * (len(saying) == 1)} {label[answer]}: framed" if saying
                        else f"of 64 patches none says {label[answer]}{' yet' if after < 3 else ''}")
        assert early.inner_text("[data-live=holds]") == held and early.inner_text("[data-live=when]") == (f"after layer {after}" if after else "before the first layer")


def test_what_is_like_a_patch_after_a_layer_is_so_there(early, hidden):
    patches = hidden[AFTER, 1:]
    cosines = torch.cosine_similarity(patches, patches[PATCH], dim=-1)
    hue = torch.where(cosines[:, None] < 0, torch.tensor([213.0, 94, 0]), torch.tensor([0.0, 114, 178]))
    ground = torch.tensor([238.0, 239, 236])
    same(canvases(early, ".near canvas")[0][11::22, 11::22, :3], ground + (hue - ground) * cosines.abs()[:, None], 2.5)
    told = re.findall(r"patch (\d+), cosine (−?[\d.]+)", early.get_attribute(".near canvas", "aria-label"))
    assert [float(cosine.replace("−", "-")) for _, cosine in told] == pytest.approx(cosines.sort(descending=True).values[1:4].tolist(), abs=0.011)
    assert [cosines[int(patch)].item() for patch, _ in told] == pytest.approx(cosines.sort(descending=True).values[1:4].tolist(), abs=0.008)
    sent = torch.from_numpy(unpack(pack(patch_similarity(hidden), "u8")))[AFTER, PATCH]
    assert f"mean over the others {number((sent.sum().item() - 1) / 63)}" in early.inner_text(".near")


@torch.no_grad()
def test_lengths_are_drawn_under_their_own_names(early, model, hidden):
    attention, mlp = [], []
    for layer, entering in zip(model.vit.layers, hidden, strict=False):
        attention.append(layer.attention(layer.layernorm_before(entering[None]), None)[0][0])
        mlp.append(layer.mlp(layer.layernorm_after(entering + attention[-1])))

    def told(name: str, lengths: list[torch.Tensor]) -> str:
        return f"{name}: {', '.join(number(length.item(), 1) for length in lengths)}"

    lengths, added = (early.get_attribute(f".below.twin .chart >> nth={i}", "aria-label").split(". ", 1)[1] for i in (0, 1))
    assert lengths == f"{told('CLS', [one[0].norm() for one in hidden])}; {told('patches', [one[1:].norm(dim=-1).mean() for one in hidden])}"
    assert added == "; ".join(told(name, [one.norm(dim=-1).mean() for one in parts]) for name, parts in (("attention", attention), ("MLP", mlp)))
