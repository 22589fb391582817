"""An address leads to the place it names; nonsense leads to the beginning."""

import pytest

from vit_demo.looks import Visit


def test_an_address_names_sample_chapter_layer_and_head():
    visit = Visit.from_address({"sample": "7", "chapter": "5", "layer": "3", "head": "2"}, 9)
    assert (visit.sample, visit.chapter, visit.layer, visit.head) == (7, 5, 2, 1)


def test_what_an_address_leaves_out_is_not_chosen():
    visit = Visit.from_address({"chapter": "5", "layer": "3"}, 9)
    assert (visit.layer, visit.head) == (2, None) and Visit.from_address({}, 9).layer is None


@pytest.mark.parametrize("text", ["-1", "2000", "x", "", "1e9", "99999999", "²", "__class__"])
def test_nonsense_is_left_out(text):
    assert Visit.from_address({"sample": text, "chapter": text, "layer": text, "head": text}, 9) == Visit()
