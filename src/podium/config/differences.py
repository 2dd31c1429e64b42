"""What differs between resolved configs, key by key, such as `stages.0.epochs`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from podium.changes import spell

NOTHING = "–"
"""What is shown where a config lacks a key that another has."""
_MISSING = object()


@dataclass(frozen=True)
class Difference:
    key: str
    values: list[str]
    """As a person would write them in YAML, one a config."""


def differences(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """In the order of their keys. What is of one kind in all that have it is looked into: a mapping with keys in
    common, and a list of more than plain values by its numbers. Anything else is told whole."""
    return _within(configs, "")


def _within(values: Sequence[Any], key: str, told: frozenset[int] = frozenset()) -> list[Difference]:
    """`told` are the configs that lack what this is a part of: where the others agree, that is told already."""
    there = [value for value in values if value is not _MISSING]
    lacking = frozenset(number for number, value in enumerate(values) if value is _MISSING)
    if all(value == there[0] for value in there):
        return [] if lacking == told else _whole(values, key)
    if len(there) > 1 and all(isinstance(value, Mapping) for value in there) and (not key or _are_alike(there)):
        names = dict.fromkeys(name for value in there for name in value)
        parts = [(name, [_MISSING if one is _MISSING else one.get(name, _MISSING) for one in values]) for name in names]
    elif len(there) > 1 and all(isinstance(value, list) for value in there) and any(map(_is_nested, there)):
        longest = max(len(value) for value in there)
        parts = [(number, [_item(one, number) for one in values]) for number in range(longest)]
    else:
        return _whole(values, key)
    return [found for name, ones in parts for found in _within(ones, f"{key}.{name}" if key else str(name), lacking)]


def _whole(values: Sequence[Any], key: str) -> list[Difference]:
    return [Difference(key, [_spelled(value) for value in values])]


def _are_alike(mappings: Sequence[Mapping[str, Any]]) -> bool:
    """Two transforms, or schedules of two kinds, have nothing to be held against each other."""
    kinds = [value.get("kind") for value in mappings]
    return all(kind == kinds[0] for kind in kinds) and bool(set(mappings[0]).intersection(*mappings[1:]))


def _is_nested(value: list[Any]) -> bool:
    return any(isinstance(item, Mapping) for item in value)


def _item(value: Any, number: int) -> Any:
    return _MISSING if value is _MISSING or number >= len(value) else value[number]


def _spelled(value: Any) -> str:
    if value is _MISSING:
        return NOTHING
    if not isinstance(value, list | Mapping):
        return spell(value)
    plain = dict(value) if isinstance(value, Mapping) else value
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()
