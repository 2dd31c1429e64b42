"""`podium schema`: the JSON Schema of a kind of config, with which editors check and complete its YAML files."""

import ast
import inspect
import json
import textwrap
from enum import StrEnum
from typing import Annotated, Any

import typer

from podium.cli.options import Debug
from podium.cli.reference import reference
from podium.config.backbones import BACKBONES
from podium.config.competition import Competition
from podium.config.ensemble import EnsembleSettings
from podium.config.folds import ShareFolds
from podium.config.member import MemberSettings
from podium.config.reading import RULES
from podium.config.settings import Settings
from podium.config.stage import OPTIMIZERS
from podium.evaluation.metrics import METRICS


class Kind(StrEnum):
    MEMBER = "member"
    COMPETITION = "competition"
    ENSEMBLE = "ensemble"
    DETECTOR = "detector"


_TEXT, _TEXTS = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
_LABELS = {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 2}
_TRANSFORM = {
    "anyOf": [
        {"type": "string", "pattern": "^[A-Z]"},
        {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "object"}},
    ]
}
_SHORT_FORMS: dict[str, dict[str, Any]] = {
    "Unfreeze": {"enum": ["none", "all"]},
    "Intensity": {"enum": list(RULES)},
    "MetadataChoice": {"anyOf": [{"enum": ["all"]}, {**_TEXTS, "minItems": 1}]},
    "MetadataSettings": {"anyOf": [{"enum": ["all"]}, {**_TEXTS, "minItems": 1}]},
    "Mix": {"type": "number", "exclusiveMinimum": 0},
    "Optimizer": {"enum": list(OPTIMIZERS)},
    "SearchValues": {"type": "array", "minItems": 2},
    "TestTimeViews": {"anyOf": [{"enum": ["none", "auto"]}, {"type": "array", "minItems": 1}]},
}
"""What YAML may have instead of the keys of a part, by the part's class."""
_NAMES = {
    ("BackboneSettings", "name"): list(BACKBONES),
    ("Optimizer", "name"): list(OPTIMIZERS),
    ("Competition", "metric"): list(METRICS),
}
"""The valid names of a key that pydantic accepts as any string, by class and key."""
_ALSO: dict[tuple[str, str], dict[str, Any]] = {
    ("Competition", "metric"): {"type": "string", "pattern": r"[0-9]|\.py:"},
    ("Competition", "classes"): _LABELS,
    ("DetectorSettings", "classes"): {
        "anyOf": [_TEXTS, {"type": "object", "additionalProperties": {"anyOf": [_TEXT, _TEXTS]}}]
    },
    ("OpenImagesSource", "images"): _TEXT,
    ("DetectorSettings", "split"): {
        "propertyNames": {"enum": [name for name in ShareFolds.model_fields if name != "kind"]}
    },
    ("Fetch", "addresses"): _TEXT,
}
"""What else is valid for a key, by class and key."""


def schema(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="member, competition, ensemble or detector.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables for people instead.")] = False,
    debug: Debug = False,
) -> None:
    """Print the JSON Schema of a kind of config, for editors that check and complete YAML.

    podium schema member > member.json

    An editor uses the schema of a file that begins with `# yaml-language-server: $schema=member.json`, as the project's
    configs do; their schemas are in configs/schemas/.
    """
    print(reference(schema_of_kind(kind)) if markdown else schema_text(kind), end="")


def schema_text(kind: Kind) -> str:
    """The content of configs/schemas/<kind>.json."""
    return json.dumps(schema_of_kind(kind), indent=1, ensure_ascii=False) + "\n"


def schema_of_kind(kind: Kind) -> dict[str, Any]:
    return schema_of(_model_of(kind))


def _model_of(kind: Kind) -> type[Settings]:
    from podium.detection.config import DetectorSettings

    models: dict[Kind, type[Settings]] = {
        Kind.MEMBER: MemberSettings,
        Kind.COMPETITION: Competition,
        Kind.ENSEMBLE: EnsembleSettings,
        Kind.DETECTOR: DetectorSettings,
    }
    return models[kind]


def schema_of(model: type[Settings]) -> dict[str, Any]:
    """Pydantic's schema, with the docstrings of fields and the short forms of YAML."""
    content = model.model_json_schema()
    parts = content.pop("$defs", {})
    classes = {found.__name__: found for found in [model, *_subclasses(Settings)]}
    for name, part in {model.__name__: content, **parts}.items():
        _complete(name, part, _docstrings(classes[name]))
    found = {**content, "$defs": parts}
    _shorten_unions(found, parts)
    found["$defs"] = {
        name: _either(_SHORT_FORMS[name], part) if name in _SHORT_FORMS else part for name, part in parts.items()
    }
    return found


def _subclasses(model: type[Settings]) -> list[type[Settings]]:
    return [found for below in model.__subclasses__() for found in (below, *_subclasses(below))]


def _docstrings(model: type[Settings]) -> dict[str, str]:
    """The docstring of each field, by the field's key."""
    found: dict[str, str] = {}
    for parent in reversed([parent for parent in model.__mro__ if issubclass(parent, Settings)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(parent))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text).replace("\n", " ")
    return {field.alias or name: found[name] for name, field in model.model_fields.items() if name in found}


def _complete(name: str, part: dict[str, Any], descriptions: dict[str, str]) -> None:
    """Add details that pydantic omits to the schema of one class."""
    if name == "Optimizer":
        part["additionalProperties"] = True  # the optimizer's arguments
    for key, content in part.get("properties", {}).items():
        content.pop("title", None)
        if "$ref" not in content and (name, key) in _NAMES:
            content["enum"] = _NAMES[name, key]
        if key == "augmentation":
            next(form for form in [content, *content.get("anyOf", [])] if "items" in form)["items"] = _TRANSFORM
        if (name, key) in _ALSO:
            default = {"default": content.pop("default")} if "default" in content else {}
            part["properties"][key] = content = {**_either(_ALSO[name, key], dict(content)), **default}
        if key in descriptions:
            content["description"] = descriptions[key]


def _shorten_unions(content: Any, parts: dict[str, Any]) -> None:
    """Accept the kind alone for the items of a union that have no other required key."""
    if isinstance(content, list):
        for item in content:
            _shorten_unions(item, parts)
    elif isinstance(content, dict):
        if "discriminator" in content:
            key, mapping = (content["discriminator"][name] for name in ("propertyName", "mapping"))
            kinds = [kind for kind, ref in mapping.items() if parts[ref.rpartition("/")[2]]["required"] == [key]]
            content["anyOf"] = [{"enum": kinds}, *content.pop("oneOf")]
            del content["discriminator"]
        for item in content.values():
            _shorten_unions(item, parts)


def _either(short: dict[str, Any], full: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [short, full]}
