"""The keys of a kind of config as tables in Markdown, from its JSON Schema: `podium schema KIND --markdown`."""

import json
import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_MOST_NAMES = 12


def reference(schema: Mapping[str, Any], shown: Set[str] = frozenset()) -> str:
    """A table for the file itself and a section for each part, in the order in which they are mentioned.

    Parts that are `shown` elsewhere are left out.
    """
    parts = {name: _keys_of(schema["$defs"][name]) for name in parts_with_keys(schema)}
    without_keys = schema["$defs"].keys() - parts.keys()
    content = _without(without_keys, schema)
    sections, waiting, seen = [_table(content)], list(_references(content)), set(shown)
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            part = _without(without_keys, parts[name])
            about = f"{part['description']}\n\n" if "description" in part else ""
            sections.append(f"### {_title(name)}\n\n{about}{_table(part)}")
            waiting += _references(part)
    return "\n".join(sections)


def parts_with_keys(schema: Mapping[str, Any]) -> set[str]:
    """The parts that `reference` describes."""
    return {name for name, content in schema["$defs"].items() if _keys_of(content)}


def _keys_of(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The form of a part that has keys; some parts also have a short form."""
    forms = [part, *part.get("anyOf", [])]
    found = next((form for form in forms if "properties" in form), None)
    return None if found is None or set(found["properties"]) <= {"kind", "method"} else found


def _without(names: Set[str], content: Any) -> Any:
    """Leave out the alternatives that refer to these parts, which have no keys: their kinds are listed by name."""
    if isinstance(content, list):
        return [_without(names, item) for item in content if not _refers_to(names, item)]
    if isinstance(content, dict):
        return {key: value if key == "$defs" else _without(names, value) for key, value in content.items()}
    return content


def _refers_to(names: Set[str], item: Any) -> bool:
    return isinstance(item, dict) and item.get("$ref", "").rpartition("/")[2] in names


def _table(part: Mapping[str, Any]) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, content in part["properties"].items():
        default = "required" if key in part.get("required", ()) else _default(content)
        rows.append(f"| `{key}` | {_value(content)} | {default} | {_cell(content.get('description', ''))} |")
    return "\n".join(rows) + "\n"


def _default(content: Mapping[str, Any]) -> str:
    value = content.get("default")
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, dict):
        return f"`{value['kind']}`" if "kind" in value else f"`{value['method']}`" if "method" in value else ""
    return f"`{json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}`"


def _value(content: Mapping[str, Any]) -> str:
    if "$ref" in content:
        return _link(content["$ref"])
    if "const" in content:
        return f"`{content['const']}`"
    if "enum" in content:
        names = [f"`{name}`" for name in content["enum"]]
        more = f", … ({len(names)} names)" if len(names) > _MOST_NAMES else ""
        return ", ".join(names[:_MOST_NAMES]) + more
    if forms := content.get("anyOf") or content.get("oneOf"):
        return " or ".join(dict.fromkeys(_value(form) for form in forms if form.get("type") != "null"))
    kind = content.get("type", "any value")
    if kind == "array":
        items = content.get("items") or {}
        value = _value(items) if items else ""
        return f"list of {f'({value})' if ' or ' in value else value}" if items else "list"
    if kind == "object":
        inner = content.get("additionalProperties")
        return f"mapping to {_value(inner)}" if isinstance(inner, dict) and inner else "mapping"
    if isinstance(kind, list):
        return " or ".join(map(_type_name, kind))
    bounds = " and ".join(f"{sign} {content[key]:,}" for key, sign in _BOUNDS.items() if key in content)
    return f"{_type_name(kind)} {bounds}".strip()


def _type_name(kind: str) -> str:
    return {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}.get(
        kind, kind
    )


def _link(reference: str) -> str:
    title = _title(reference.rpartition("/")[2])
    return f"[{title}](#{title.lower().replace(' ', '-')})"


def _title(name: str) -> str:
    """The words of a class's name."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Settings")).capitalize()


def _cell(text: str) -> str:
    parts = text.replace("|", "\\|").replace("\n", " ").split("`")
    return "`".join(part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts))


def _references(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "$ref":
                yield value.rpartition("/")[2]
            elif key != "$defs":
                yield from _references(value)
    elif isinstance(content, list):
        for item in content:
            yield from _references(item)
