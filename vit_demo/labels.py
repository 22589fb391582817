"""Class names as a stranger's config gives them -> names that are safe to show, and all different."""

import unicodedata

LONGEST = 80


def clean_labels(names: list) -> tuple[str, ...]:
    """Any JSON values -> one non-empty string each: one line, at most 80 characters, no control characters, no two
    alike. A repeat gets a number, `cat` and `cat (2)`: a dictionary of scores would otherwise lose a class."""
    labels: list[str] = []
    seen: dict[str, int] = {}  # label -> the number that its last repeat got, so that 1000 alike are not counted again each time
    for index, name in enumerate(names):
        plain = clean(str(name)) if isinstance(name, (str, int, float)) else ""
        label = plain = plain or f"class {index}"
        while label in seen:
            seen[plain] += 1
            suffix = f" ({seen[plain]})"
            label = plain[:LONGEST - len(suffix)] + suffix
        seen[label] = 1
        labels.append(label)
    return tuple(labels)


def clean(text: str) -> str:
    """One line of visible text. Category C holds control, direction-changing and unassigned characters."""
    text = " ".join("".join(" " if c.isspace() else c for c in text[:200]
                            if c.isspace() or not unicodedata.category(c).startswith("C")).split())
    return text if len(text) <= LONGEST else text[:LONGEST - 1].rstrip() + "…"
