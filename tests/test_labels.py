"""Class names from a stranger: every one kept, no two alike, nothing in them that does more than be read."""

import unicodedata

import pytest

from vit_demo.labels import LONGEST, clean_labels


@pytest.mark.parametrize("given, expected", [
    (["cat", "dog"], ["cat", "dog"]),
    (["grey wolf, Canis lupus", "Katze ☂", "ネコ"], ["grey wolf, Canis lupus", "Katze ☂", "ネコ"]),
    (["cat", "cat", "cat"], ["cat", "cat (2)", "cat (3)"]),
    (["cat", "cat (2)", "cat"], ["cat", "cat (2)", "cat (3)"]),
    (["", None, {"a": 1}, ["b"]], ["class 0", "class 1", "class 2", "class 3"]),
    ([7, 1.5, True], ["7", "1.5", "True"]),
    (["a\nb\tc", "a\x00b\x1b[31m", " a  b "], ["a b c", "ab[31m", "a b"]),
    (["\u202ecat", "c\u200bat", "\ufeff"], ["cat", "cat (2)", "class 2"]),
    (["class 1", ""], ["class 1", "class 1 (2)"]),
    (["<img src=x onerror=alert(1)>", "/etc/passwd.json"], ["<img src=x onerror=alert(1)>", "/etc/passwd.json"]),
])
def test_clean_labels(given, expected):
    assert list(clean_labels(given)) == expected


def test_long_names_are_cut_and_stay_different():
    labels = clean_labels(["x" * 5000] * 12 + ["y" * LONGEST])
    assert len(set(labels)) == 13 and all(len(label) <= LONGEST for label in labels)
    assert labels[0].endswith("…") and labels[1].endswith(" (2)") and labels[-1] == "y" * LONGEST


def test_no_control_character_is_left():
    everything = [chr(code) + "a" for code in range(0x3000)]
    assert not any(unicodedata.category(character).startswith("C") for label in clean_labels(everything) for character in label)
