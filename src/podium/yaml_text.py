"""YAML 1.2 as podium reads it, within limits that a text from outside cannot exceed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

_SCALARS = {
    "int": r"-?(?:0|[1-9]\d*)",
    "float": r"[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "bool": r"true|True|TRUE|false|False|FALSE",
}
"""How an unquoted value of each type is written; everything else, dates included, is text."""
MAX_SIZE, MAX_VALUES, MAX_DEPTH = 1_000_000, 100_000, 100
"""The limits of a file: characters, values, levels. An alias counts with all its values wherever it is used: a few
lines can stand for billions."""
FAILURES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What PyYAML raises for a tag such as `!!int` on a value that is none."""
YAML_ERRORS = (yaml.YAMLError, RecursionError, *FAILURES)


class Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-3` as a number, and `off`, `no`, `007` and dates as text.

    It stops at the first value too many: PyYAML takes half a minute for a million characters of `[1,1,1]`.
    """

    values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES:,} values")
        return super().compose_node(parent, index)


Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag.rpartition(":")[2] not in (*_SCALARS, "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _type, _form in _SCALARS.items():
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", re.compile(f"^(?:{_form})$"), None)


def read_saved(path: Path) -> Any:
    """The content of a file that podium wrote, or None if it is missing or damaged."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, *YAML_ERRORS):
        return None


def parse_yaml(text: str, record: Callable[[yaml.Node], None] | None = None) -> Any:
    """The content of a text: of a file, the value of a --set. It raises one of YAML_ERRORS."""
    if len(text) > MAX_SIZE:
        raise ValueError(f"it has {len(text):,} characters, more than {MAX_SIZE:,}")
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if (values := _count(node, {})) > MAX_VALUES:
            raise ValueError(f"it has {values:.1e} values with those of its aliases, more than {MAX_VALUES:,}")
        if record:
            record(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """The values below a node and its own, with those of aliases as often as they are used."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_count(part, known, depth + 1) for part in parts)
    return known[id(node)]
