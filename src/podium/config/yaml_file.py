"""Read a YAML file with the line of each key, and change values of it as `--set KEY=VALUE` does."""

import copy
import math
import reprlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from podium.config.problems import Problem, nearest
from podium.errors import ConfigError
from podium.files import atomic_write
from podium.yaml_text import FAILURES, YAML_ERRORS, Loader, parse_yaml


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes text which `Loader` or a standard YAML reader would not read as text."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *Loader.yaml_implicit_resolvers}
}


def to_yaml(content: dict[str, Any]) -> str:
    """The YAML text that `read_yaml` reads as this content."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def flow_text(value: Any) -> str:
    """The value as YAML in one line."""
    dumped = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=True, width=math.inf
    )
    return dumped.removesuffix("\n").removesuffix("\n...")


@dataclass
class YamlFile:
    """The content of a file, the line of each key, and the problems found so far."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    overridden: set[str] = field(default_factory=set)

    @property
    def is_unreadable(self) -> bool:
        return bool(self.problems) and not self.content

    def problem(self, key: str, message: str) -> Problem:
        """A problem at the line of its key, of the nearest parent key, or at the --set that set it."""
        parts = key.split(".")
        around = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
        is_from_override = key not in self.lines and any(below.startswith(f"{key}.") for below in self.overridden)
        if is_from_override or not self.overridden.isdisjoint(around):
            return Problem(f"--set ({self.path})", key, message)
        line = next((self.lines[name] for name in around if name in self.lines), self.lines.get(""))
        return Problem(str(self.path), key, message, line)


def read_yaml(path: Path) -> YamlFile:
    file = YamlFile(path)

    def failed(message: str, line: int | None = None) -> YamlFile:
        file.problems.append(Problem(str(path), "", message, line))
        return file

    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), lambda node: _record_lines(node, "", file))
    except FileNotFoundError:
        return failed(f"no such file{_nearest_file(path)}")
    except UnicodeDecodeError:
        return failed("cannot be read: not UTF-8 text; expected a YAML file")
    except IsADirectoryError:
        return failed("is a folder; expected a YAML file")
    except OSError as error:
        return failed(f"cannot be read: {(error.strerror or str(error)).lower()}")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return failed(f"not YAML: {_yaml_problem(error)}", mark.line + 1 if mark else None)
    except RecursionError:
        return failed("nested too deeply, or an alias is inside its own anchor")
    except (AttributeError, LookupError):
        return failed("a value is not of the type that its tag says, such as !!int")
    except FAILURES as error:
        return failed(f"not YAML that podium can read: {error}")
    if not isinstance(content, dict):
        got = {type(None): "nothing", list: "a list"}.get(type(content), reprlib.repr(content))
        return failed(f"expected keys with values at the top of the file, got {got}")
    file.content = content
    return file


def _yaml_problem(error: yaml.YAMLError) -> str:
    """PyYAML's problem on one line, with its context if the problem alone is unclear."""
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{getattr(error, 'context', '')}, {problem}" if problem.startswith("but ") else problem


def _record_lines(node: yaml.Node, key: str, file: YamlFile) -> None:
    """Record the line of every key, and report duplicate keys."""
    file.lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            name = str(key_node.value)
            full = f"{key}.{name}" if key else name
            line = key_node.start_mark.line + 1
            if name in seen:
                file.problems.append(Problem(str(file.path), full, "duplicate key", line))
            seen.add(name)
            file.lines[full] = line
            _record_lines(value_node, full, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _record_lines(item, f"{key}.{index}", file)


_TRAINED_KINDS = ("members", "ensembles", "detectors")
"""The folders of their files in the configs folder."""


def _nearest_file(path: Path) -> str:
    usual = [Path("configs", kind, f"{path.name.removesuffix('.yaml')}.yaml") for kind in _TRAINED_KINDS]
    if found := [str(file) for file in usual if file.is_file()]:
        return f"; did you mean {' or '.join(found)}?"
    siblings = sorted(path.parent.glob("[!.]*.y*ml")) if path.parent.is_dir() else []
    if not siblings:
        return f"; is {path.parent} the right folder?"
    names = [sibling.name for sibling in siblings]
    return nearest(path.name, names, compared_by=lambda name: Path(name).stem.lower())  # a shared .yaml is no match


Overrides = Sequence[str] | Mapping[str, Any]
"""Changes of a config: texts as --set takes them (`head.dropout=0.4`), or a dict (`{"head.dropout": 0.4}`)."""


@dataclass(frozen=True)
class Override:
    """One change of a config."""

    key: str
    value: Any

    @property
    def first_key(self) -> str:
        return self.key.partition(".")[0]


def parse_overrides(given: Overrides) -> tuple[list[Override], list[Problem]]:
    if isinstance(given, Mapping):
        return [Override(key, value) for key, value in given.items()], []
    parsed = [_parse_override(text) for text in given]
    return [item for item in parsed if isinstance(item, Override)], [
        item for item in parsed if isinstance(item, Problem)
    ]


def _parse_override(text: str) -> Override | Problem:
    key, equals, value = text.partition("=")
    if not equals or not key or key.startswith(".") or key.endswith(".") or ".." in key:
        return Problem("--set", text, "expected KEY=VALUE, such as stages.0.learning_rate=1e-4")
    try:
        return Override(key, parse_yaml(value))
    except YAML_ERRORS:
        return Problem("--set", key, f"{value!r} is not a YAML value")


def apply_overrides(file: YamlFile, overrides: Sequence[Override]) -> None:
    """Set each override's value in the file's content; a key that does not exist there becomes a problem."""
    if file.is_unreadable:
        return
    for override in overrides:
        message = _set(file.content, override.key.split("."), override.value)
        file.overridden.add(override.key)
        if message:
            file.problems.append(file.problem(override.key, message))


def _set(content: Any, keys: list[str], value: Any) -> str | None:
    """Set the value below these keys, or return what is wrong with the keys."""
    here = content
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        where = ".".join(keys[:position]) or "the file"
        if isinstance(here, list):
            if not key.isdecimal() or int(key) >= len(here):
                return f"{where} has {len(here)} items, numbered from 0, got {key!r}"
            if last:
                here[int(key)] = copy.deepcopy(value)
            else:
                here = here[int(key)]
        elif isinstance(here, dict):
            if last:
                here[key] = copy.deepcopy(value)
            else:
                here = here.setdefault(key, {})
        else:
            return f"{where} is {here!r} and has no keys; set {where}={{…}} as a whole"
    return None


def replace_value(path: Path, key: str, text: str) -> int:
    """Replace a value in a YAML file and nothing else, comments included; returns its line."""
    with path.open(encoding="utf-8", newline="") as file:
        before = file.read()
    expected = read_yaml(path).content
    node = _node_at(yaml.compose(before, Loader=Loader), key.split("."))
    if isinstance(node, yaml.ScalarNode):
        after = f"{before[: node.start_mark.index]}{text}{before[node.end_mark.index :]}"
        _set(expected, key.split("."), parse_yaml(text))
        if _read_text(after) == expected:  # not if an alias refers to the value
            with atomic_write(path) as temporary:
                temporary.write_bytes(after.encode())
            return node.start_mark.line + 1
    raise ConfigError(f"{path}: {key} cannot be replaced in the file; change it to {text} by hand")


def _read_text(text: str) -> Any:
    with suppress(*YAML_ERRORS):
        return parse_yaml(text)


def _node_at(node: yaml.Node | None, keys: Sequence[str]) -> yaml.Node | None:
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            node = next((value for name, value in node.value if name.value == key), None)
        elif isinstance(node, yaml.SequenceNode) and key.isdecimal() and int(key) < len(node.value):
            node = node.value[int(key)]
        else:
            return None
    return node


def text_with_values(path: Path, values: Mapping[str, Any]) -> str:
    """The text of a YAML file with other values, comments included."""
    text, expected = path.read_text(encoding="utf-8"), read_yaml(path).content
    for key, value in values.items():
        text = _with_value(text, key.split("."), value) or text
        problem = _set(expected, key.split("."), value)
        if problem or _read_text(text) != expected:  # for example if the value is that of an alias
            raise ConfigError(f"{path}: {key} cannot be set to {flow_text(value)} in the file: write the key out there")
    return text


def _with_value(text: str, keys: list[str], value: Any) -> str | None:
    """Replace the value in the text or, if there is no such key, add it to its mapping."""
    node, depth = yaml.compose(text, Loader=Loader), 0
    assert node is not None
    while depth < len(keys) and (child := _node_at(node, keys[depth : depth + 1])):
        node, depth = child, depth + 1
    start, end = node.start_mark.index, node.end_mark.index
    if depth == len(keys):
        lines = text[start:end].rstrip().splitlines(keepends=True)
        while lines[1:] and lines[-1].lstrip()[:1] in ("", "#"):  # PyYAML includes the comments after a block
            lines.pop()
        return text[:start] + flow_text(value) + text[start + len("".join(lines).rstrip()) :]
    for key in reversed(keys[depth + 1 :]):
        value = {key: value}
    line = flow_text({keys[depth]: value})[1:-1]
    if not isinstance(node, yaml.MappingNode) or not node.value:
        return None
    if depth == 0 and not node.flow_style:
        return text.rstrip("\n") + f"\n{line}\n"
    first = node.value[0][0].start_mark
    separator = ", " if node.flow_style else "\n" + " " * first.column
    return text[: first.index] + line + separator + text[first.index :]
