"""Error messages of configs: the file and line, the key, what was expected, and the nearest valid name."""

import difflib
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Tag, ValidationError

from podium.errors import ConfigError, shortened


class KeyProblemsError(ValueError):
    """Raised by a validator that found several problems, each with a key below the validator's own ("" for its own)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(message for _, message in problems))
        self.problems = list(problems)


def raise_key_problems(problems: Sequence[tuple[str, str]]) -> None:
    if problems:
        raise KeyProblemsError(problems)


@dataclass(frozen=True)
class Problem:
    file: str
    key: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}  {self.key}: {self.message}" if self.key else f"{place}  {self.message}"


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one ConfigError with all problems, without duplicates, if there are any."""
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    if len(lines) == 1:
        raise ConfigError(lines[0])
    if lines:
        raise ConfigError("\n".join([f"{len(lines)} problems in the configuration", *(f"  {line}" for line in lines)]))


def repeated(names: Iterable[str]) -> list[str]:
    """The names that occur more than once, sorted."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def nearest(name: str, known: list[str], compared_by: Callable[[str], str] = str.lower) -> str:
    """The end of a message: `; did you mean 'x'?`, or the valid names."""
    folded = {compared_by(candidate): candidate for candidate in reversed(known)}
    close = difflib.get_close_matches(compared_by(name), list(folded), n=1, cutoff=0.6)
    if close:
        return f"; did you mean {folded[close[0]]!r}?"
    if len(known) > 24:
        return f"; there are {len(known)}, such as {', '.join(known[:6])}"
    return f"; expected {'one of ' if len(known) > 1 else ''}{', '.join(known)}" if known else ""


def one_of(value: str, known: Iterable[str], what: str) -> str:
    """Return the value, or raise a ValueError that names the nearest valid one."""
    if value in known:
        return value
    raise ValueError(f"{value!r} is not {what}{nearest(value, list(known))}")


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """Pydantic's errors as (key, message)."""
    problems = []
    for problem in error.errors(include_url=False):
        keys, known = _keys_at(model, problem["loc"])
        raised = problem.get("ctx", {}).get("error")
        parts = raised.problems if isinstance(raised, KeyProblemsError) else [("", _message(problem, keys[-1:], known))]
        problems += [(".".join(filter(None, [*keys, below])), message) for below, message in parts]
    return problems


def _message(problem: Any, last_key: list[str], known: list[str]) -> str:
    kind, given, context = problem["type"], problem["input"], problem.get("ctx", {})
    got = f", got {shortened(repr(given))}"
    if kind == "extra_forbidden":
        return "unknown key" + nearest(last_key[0], known)
    if kind == "missing":
        return "missing required key"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return _not_among(given, context["expected"].replace(" or ", ", "))
    if kind == "union_tag_invalid":
        return _not_among(context["tag"], context["expected_tags"])
    if kind == "union_tag_not_found":
        return f"missing required key {context['discriminator']}{got}"
    if kind == "string_pattern_mismatch":
        return f"expected text of the form {context['pattern']}{got}"
    if kind in _EXPECTED:
        limits = {name: f"{limit:.10g}" for name, limit in context.items() if isinstance(limit, int | float)}
        return f"expected {_EXPECTED[kind].format(**limits)}{got}"
    sentence = str(problem["msg"])
    return sentence[0].lower() + sentence[1:] + got


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "bool_type": "true or false",
    "string_type": "text",
    "invalid_key": "text as a key",
    "list_type": "a list",
    "too_short": "{min_length} or more items",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}
"""What was expected, by the type of pydantic's error."""


def _not_among(given: Any, listed: str) -> str:
    allowed = [name.strip("'") for name in listed.split(", ")]
    hint = nearest(str(given), allowed)
    return f"expected one of {', '.join(allowed)}; got {shortened(repr(given))}{hint if 'did you mean' in hint else ''}"


def _keys_at(model: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The keys of pydantic's location as in the file, without the tags of unions, and the valid keys at that place."""
    keys: list[str] = []
    known: list[str] = []
    here: Any = model
    for step in location:
        here = _bare(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {field.alias or name: field for name, field in here.model_fields.items()}
            known = list(fields)
            keys.append(str(step))
            here = fields[str(step)].annotation if step in fields else None
        elif (chosen := _tagged(here, step)) is not None:
            here = chosen
            known = [field.alias or name for name, field in chosen.model_fields.items()]
        else:
            arguments = typing.get_args(here)
            here = arguments[-1] if arguments else None
            if step != "[key]":
                keys.append(str(step))
    return keys, known


def _bare(annotation: Any) -> Any:
    """The annotation without Annotated and without `| None`."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
            continue
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            others = [part for part in typing.get_args(annotation) if part is not type(None)]
            if len(others) == 1:
                annotation = others[0]
                continue
        return annotation


def _tagged(union: Any, tag: int | str) -> type[BaseModel] | None:
    """The member of a discriminated union with this tag."""
    for argument in typing.get_args(union):
        member = _bare(argument)
        if any(isinstance(part, Tag) and part.tag == tag for part in typing.get_args(argument)[1:]):
            return typing.cast("type[BaseModel]", member)
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name in ("kind", "method"):
                field = member.model_fields.get(name)
                if field is not None and tag in typing.get_args(field.annotation):
                    return member
    return None
