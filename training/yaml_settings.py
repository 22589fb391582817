"""Settings of a dataclass from and to a YAML file, each of the type and within the bounds that its field names."""

import dataclasses
import typing
from pathlib import Path

import yaml

from vit_demo.errors import UserError

LIMIT = 2**63  # of the whole numbers that torch takes; infinity is above it too


def read_yaml(path: Path, kind: type) -> dict:
    """Lines of `name: value` -> checked settings of the dataclass `kind`; unknown names are refused."""
    try:
        values = yaml.safe_load(path.read_text("utf-8")) or {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: no Unicode, a 13th month, thousands of digits
        raise UserError(f"cannot read the settings file {path}: {getattr(error, 'strerror', None) or 'it is not YAML'}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected lines of `name: value`")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise UserError(f"{path}: no such setting: {', '.join(unknown)} (python -m training.train --help lists them)")
    return {name: typed(fields[name], value, path) for name, value in values.items()}


def typed(field: dataclasses.Field, value, path: Path):
    """YAML reads 1e-3 as a word and yes as true: what was meant follows from the field."""
    kind, *more = typing.get_args(field.type) or (field.type,)
    if value is None and type(None) in more:
        return None
    if isinstance(value, bool) and kind is str:
        value = "yes" if value else "no"
    try:
        taken = kind(value)
        if isinstance(value, bool) != (kind is bool) or taken != value and not isinstance(value, str):  # 2.5 is no whole number, [a, b] no word
            raise ValueError
        return taken
    except (TypeError, ValueError, OverflowError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a word, in quotes if need be"}[kind]
        raise UserError(f"{path}: {field.name} is {value!r}: it must be {wanted}") from None


def check_bounds(settings) -> None:
    """Each field within the `least`, `below`, `most` and `choices` of its metadata."""
    for field in dataclasses.fields(settings):
        value, flag = getattr(settings, field.name), f"--{field.name.replace('_', '-')}"
        least, below, most, choices = (field.metadata.get(name) for name in ("least", "below", "most", "choices"))
        if value is None:
            continue
        if choices and value not in choices:
            raise UserError(f"{flag} is {value}: choose {', '.join(choices)}")
        if least is not None and not value >= least or most is not None and not value <= most or below is not None and not value < below:
            upper = f" and at most {most}" if most is not None else f" and below {below}" if below is not None else ""
            raise UserError(f"{flag} is {value}: it must be at least {least}{upper}")
        if isinstance(value, (int, float)) and value >= LIMIT:
            raise UserError(f"{flag} is {value}: it must be below 2^63")


def save_yaml(settings, path: Path) -> None:
    path.write_text(yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False))
