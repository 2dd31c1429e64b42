"""Reading YAML the way a person means it, and --set on top of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from podium.config.problems import Problem, nearest

_PLAIN = {
    "int": r"-?(?:0|[1-9]\d*)",
    "float": r"[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "bool": r"true|True|TRUE|false|False|FALSE",
}
"""How a value without quotes looks for what it is; anything else, dates too, is text."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-3` as a number, and `off`, `no`, `007` and dates as the text they are."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag.rpartition(":")[2] not in (*_PLAIN, "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _form in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_form})$"), None)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what any reader, `_Loader` or another, would not take for text."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *_Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def to_yaml(content: dict[str, Any]) -> str:
    """The text of a file that `read_yaml` reads as this."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


@dataclass
class YamlFile:
    """What a file holds, on which line each key stands, and what is wrong with it already."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    overridden: set[str] = field(default_factory=set)

    @property
    def is_unreadable(self) -> bool:
        return bool(self.problems) and not self.content

    def problem(self, key: str, message: str) -> Problem:
        """A problem at the line of its key, of the nearest key around it, or of the --set it is from."""
        parts = key.split(".")
        around = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
        made_by_set = key not in self.lines and any(one.startswith(f"{key}.") for one in self.overridden)
        if made_by_set or not self.overridden.isdisjoint(around):
            return Problem(f"--set ({self.path})", key, message)
        line = next((self.lines[one] for one in around if one in self.lines), self.lines.get(""))
        return Problem(str(self.path), key, message, line)


def read_yaml(path: Path) -> YamlFile:
    read = YamlFile(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        read.problems.append(Problem(str(path), "", f"no such file{_nearest_file(path)}"))
        return read
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason
        read.problems.append(Problem(str(path), "", f"cannot be read: {reason}"))
        return read
    try:
        content = _content(text, read)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        read.problems.append(Problem(str(path), "", f"not YAML: {_problem(error)}", mark.line + 1 if mark else None))
        return read
    except RecursionError:
        read.problems.append(Problem(str(path), "", "nested too deeply, or an alias stands inside its own anchor"))
        return read
    except (ValueError, TypeError) as error:
        read.problems.append(Problem(str(path), "", f"not YAML that podium reads: {error}"))
        return read
    if not isinstance(content, dict):
        got = {type(None): "nothing", list: "a list"}.get(type(content), repr(content))
        read.problems.append(Problem(str(path), "", f"expected keys with values at the top of the file: got {got}"))
        return read
    read.content = content
    return read


def _content(text: str, read: YamlFile) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _walk(node, "", read)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _problem(error: yaml.YAMLError) -> str:
    """What PyYAML found, in one line; with what it expected where the finding alone says little."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{getattr(error, 'context', '')}, {problem}" if problem.startswith("but ") else problem


def _walk(node: yaml.Node, key: str, read: YamlFile) -> None:
    """Note the line of every key, and any key that stands twice."""
    read.lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            name = str(key_node.value)
            full = f"{key}.{name}" if key else name
            line = key_node.start_mark.line + 1
            if name in seen:
                read.problems.append(Problem(str(read.path), full, "stands twice here; keep one", line))
            seen.add(name)
            read.lines[full] = line
            _walk(value_node, full, read)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, f"{key}.{index}", read)


def _nearest_file(path: Path) -> str:
    neighbours = sorted(path.parent.glob("[!.]*.y*ml")) if path.parent.is_dir() else []
    if not neighbours:
        return f"; is {path.parent} the right folder?"
    names = [neighbour.name for neighbour in neighbours]
    return nearest(path.name, names, compared_by=lambda name: Path(name).stem.lower())  # .yaml alone is no likeness


def parse_value(text: str) -> Any:
    """The value of a --set, read as YAML."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@dataclass(frozen=True)
class Override:
    """One `--set KEY=VALUE`."""

    key: str
    value: Any

    @property
    def first_key(self) -> str:
        return self.key.partition(".")[0]

    @classmethod
    def parse(cls, text: str) -> "Override | Problem":
        key, equals, value = text.partition("=")
        if not equals or not key or key.startswith(".") or key.endswith(".") or ".." in key:
            return Problem("--set", text, "expected KEY=VALUE, such as stages.0.learning_rate=1e-4")
        try:
            return cls(key, parse_value(value))
        except (yaml.YAMLError, ValueError, RecursionError):
            return Problem("--set", key, f"{value!r} is not a YAML value")


def apply_overrides(read: YamlFile, overrides: Sequence[Override]) -> None:
    """Put each override into the file's content; what does not lead anywhere becomes a problem."""
    if read.is_unreadable:
        return
    for override in overrides:
        message = _put(read.content, override.key.split("."), override.value)
        read.overridden.add(override.key)
        if message:
            read.problems.append(read.problem(override.key, message))


def _put(content: Any, keys: list[str], value: Any) -> str | None:
    here = content
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        where = ".".join(keys[:position]) or "the file"
        if isinstance(here, list):
            if not key.isdecimal() or int(key) >= len(here):
                return f"{where} is a list of {len(here)}, counted from 0: {key!r} is none of them"
            if last:
                here[int(key)] = value
            else:
                here = here[int(key)]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                here = here.setdefault(key, {})
        else:
            return f"{where} is {here!r} and has no keys; set {where}={{…}} as a whole"
    return None
