"""Checks of single values that a stranger's file gives. `name` is what the user calls the model."""

import re

from vit_demo.errors import UserError

LIFTS = "--no-limits"  # app.py's option


def shown(value: object) -> str:
    """A stranger's value in a message of ours: short, and without the characters that markup is made of."""
    return re.sub(r"[^\w .:/+-]", "?", str(value))[:40] or "empty"


def refuse_above(name: str, what: str, value: float, limit: float) -> None:
    if value > limit:
        raise UserError(f"{name}: it is too large to open here: its {what} is {value:,}, the limit is {limit:,.0f}; whoever "
                        f"starts the app can lift it with {LIFTS}")


def is_whole(value: object) -> bool:
    return isinstance(value, int) and is_number(value)


def is_number(value: object) -> bool:
    """One that a page can be sent: beyond 64 bits nothing that writes JSON for it takes a whole number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e9  # false for NaN


def whole(name: str, key: str, value: object) -> int:
    if not is_whole(value) or value < 1:
        raise UserError(f"{name}: {key} in config.json is {shown(value)}; it must be a whole number from 1 up to a billion")
    return value


def pair(name: str, key: str, value: object) -> tuple[int, int]:
    """(height, width)"""
    sides = value if isinstance(value, list) and len(value) == 2 else [value, value]
    return whole(name, key, sides[0]), whole(name, key, sides[1])


def by(sides: tuple[int, ...]) -> str:
    return "x".join(map(str, sides)) or "nothing"
