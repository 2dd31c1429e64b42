"""Reading YAML the way a person means it, and --set on top of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from podium.config.faults import Fault, nearest

_FLOAT = re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$")


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads `1e-3` as a number, `off` and `no` as text, and does not pass over a key said twice."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@dataclass
class YamlFile:
    """What a file holds, on which line each key stands, and what is wrong with it already."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def read_yaml(path: Path) -> YamlFile:
    read = YamlFile(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        read.faults.append(Fault(str(path), "", f"no such file{_nearest_file(path)}"))
        return read
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or str(error)).lower()
        read.faults.append(Fault(str(path), "", f"cannot be read: {reason}"))
        return read
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _walk(node, "", read)
        content = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        read.faults.append(Fault(str(path), "", f"not YAML: {problem}", mark.line + 1 if mark else None))
        return read
    except (ValueError, RecursionError, TypeError) as error:
        read.faults.append(Fault(str(path), "", f"not YAML that podium reads: {error}"))
        return read
    finally:
        loader.dispose()
    if not isinstance(content, dict):
        got = "nothing" if content is None else type(content).__name__
        read.faults.append(Fault(str(path), "", f"expected keys with values at the top of the file: got {got}"))
        return read
    read.content = content
    return read


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
                read.faults.append(Fault(str(read.path), full, "stands twice here; keep one", line))
            seen.add(name)
            read.lines[full] = line
            _walk(value_node, full, read)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, f"{key}.{index}", read)


def _nearest_file(path: Path) -> str:
    neighbours = sorted(path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    if not neighbours:
        return f"; is {path.parent} the right folder?"
    return nearest(path.name, [neighbour.name for neighbour in neighbours])


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
    def source(self) -> str:
        return f"--set {self.key}"

    @classmethod
    def parse(cls, text: str) -> "Override | Fault":
        key, equals, value = text.partition("=")
        if not equals or not key or key.startswith(".") or key.endswith(".") or ".." in key:
            return Fault("--set", text, "expected KEY=VALUE, such as stages.0.learning_rate=1e-4")
        try:
            return cls(key, parse_value(value))
        except yaml.YAMLError:
            return Fault("--set", key, f"{value!r} is not a YAML value")


def apply_overrides(read: YamlFile, overrides: Sequence[Override]) -> None:
    """Put each override into the file's content; what does not lead anywhere becomes a fault."""
    for override in overrides:
        message = _put(read.content, override.key.split("."), override.value)
        if message:
            read.faults.append(Fault(f"--set ({read.path})", override.key, message))


def _put(content: Any, keys: list[str], value: Any) -> str | None:
    here = content
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        where = ".".join(keys[:position]) or "the file"
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
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
