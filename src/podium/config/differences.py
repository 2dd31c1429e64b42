"""The differences between resolved configs, by key, such as `stages.0.epochs`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from podium.changes import format_value

NOTHING = "–"
"""The value of a config that lacks the key."""
_MISSING = object()


@dataclass(frozen=True)
class Difference:
    key: str
    values: list[str]
    """The value in each config, as in YAML."""


def differences(configs: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """The keys in which the configs differ, in the order of the configs.

    Mappings with common keys are compared key by key, and lists of mappings item by item; other values as a whole.
    """
    return _compare(configs, "")


def _compare(values: Sequence[Any], key: str, reported: frozenset[int] = frozenset()) -> list[Difference]:
    """`reported` are the configs that lack the parent key, which is a difference of its own already."""
    present = [value for value in values if value is not _MISSING]
    lacking = frozenset(number for number, value in enumerate(values) if value is _MISSING)
    if all(value == present[0] for value in present):
        return [] if lacking == reported else [_difference(key, values)]
    if len(present) > 1 and all(isinstance(value, Mapping) for value in present) and (not key or _are_alike(present)):
        names = dict.fromkeys(name for value in present for name in value)
        parts = [
            (name, [_MISSING if value is _MISSING else value.get(name, _MISSING) for value in values]) for name in names
        ]
    elif len(present) > 1 and all(isinstance(value, list) for value in present) and any(map(_is_nested, present)):
        longest = max(len(value) for value in present)
        parts = [(number, [_item(value, number) for value in values]) for number in range(longest)]
    else:
        return [_difference(key, values)]
    return [found for name, below in parts for found in _compare(below, f"{key}.{name}" if key else str(name), lacking)]


def _difference(key: str, values: Sequence[Any]) -> Difference:
    return Difference(key, [_as_yaml(value) for value in values])


def _are_alike(mappings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether they have common keys and are of the same kind: not two different transforms or schedules."""
    kinds = [value.get("kind") for value in mappings]
    return all(kind == kinds[0] for kind in kinds) and bool(set(mappings[0]).intersection(*mappings[1:]))


def _is_nested(value: list[Any]) -> bool:
    return any(isinstance(item, Mapping) for item in value)


def _item(value: Any, number: int) -> Any:
    return _MISSING if value is _MISSING or number >= len(value) else value[number]


def _as_yaml(value: Any) -> str:
    if value is _MISSING:
        return NOTHING
    if not isinstance(value, list | Mapping):
        return format_value(value)
    plain = dict(value) if isinstance(value, Mapping) else value
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()
