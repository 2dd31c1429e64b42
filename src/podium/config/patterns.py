"""Patterns of image paths, such as `train/**/{patient_id}/{id}.png`."""

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

from podium.paths import stays_inside

ANY_FOLDERS = "**/"
"""In a pattern: any number of folders."""
_LONG_NUMBER = re.compile(r"\d{3}")
"""In the format of a field: `{id:>9999999999}` would be a name of 10 GB."""


@dataclass(frozen=True)
class Pattern:
    """A pattern, split into pieces: some text, and the field after it if there is one, with its format."""

    text: str
    pieces: tuple[tuple[str, str | None, str], ...]

    @classmethod
    def of(cls, text: str) -> "Pattern":
        """Raises a ValueError if the braces do not match, or a field is too wide."""
        pieces = [(literal, field, form or "") for literal, field, form, _ in string.Formatter().parse(text)]
        if wide := [form for _, _, form in pieces if _LONG_NUMBER.search(form)]:
            raise ValueError(f"expected a width of at most two digits, as in {{id:0>6}}, got {wide[0]!r}")
        return cls(text, tuple(pieces))

    @cached_property
    def fields(self) -> list[str]:
        """The fields in the order in which they occur."""
        return [field for _, field, _ in self.pieces if field is not None]

    def fill(self, columns: Iterable[Iterable[str]]) -> Iterator[str]:
        """The paths of rows, given the values of each field."""
        template = "".join(  # with positional fields, so that a column may have any name
            literal.replace("{", "{{").replace("}", "}}") + ("" if field is None else f"{{:{form}}}")
            for literal, field, form in self.pieces
        )
        return (template.format(*values) for values in zip(*columns, strict=True))

    def with_value(self, field: str, value: str) -> "Pattern":
        """The pattern with the same value of this field for all rows."""
        pieces = [(text + value, None, "") if name == field else (text, name, form) for text, name, form in self.pieces]
        return Pattern(self.text, tuple(pieces))

    @property
    def folder(self) -> Path:
        """The folders before the first field."""
        before = self.text.split("{", 1)[0].split(ANY_FOLDERS, 1)[0]
        return Path(before) if before.endswith("/") else Path(before).parent

    @property
    def is_nested(self) -> bool:
        """Whether it has `**`."""
        return ANY_FOLDERS in self.text

    @property
    def ends_with_field(self) -> bool:
        """Whether it leaves the extension open."""
        return self.text.endswith("}")


def checked_pattern(text: str, fields: set[str] | None = None) -> str:
    """Return the pattern if it has {id}, has only these fields (by default any), and stays inside its folder."""
    try:
        pattern = Pattern.of(text)
        next(pattern.fill([["0"]] * len(pattern.fields)), None)
    except (ValueError, IndexError, KeyError) as error:
        raise ValueError(f"{text!r} is not a pattern such as 'train/{{label}}/{{id}}': {error}") from None
    used = set(pattern.fields)
    if "id" not in used or "" in used or (fields is not None and not used <= fields):
        allowed = " and ".join(f"{{{name}}}" for name in sorted(fields or ()))
        others = f" and no other fields than {allowed}" if fields else ""
        raise ValueError(f"expected a pattern with {{id}}{others}, got {text!r}")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"expected a pattern inside the data folder, got {text!r}")
    return text


def checked_image_pattern(text: str) -> str:
    """The same for the images of a competition, where `**` may occur once, as a folder of its own."""
    checked_pattern(text)
    if "*" in text and (text.count("*") > 2 or "**" not in PurePosixPath(text).parts[:-1]):
        raise ValueError(f"expected * only in **, once and as a folder of its own (train/**/{{id}}.jpg), got {text!r}")
    return text


def _check_table(name: str) -> str:
    if not stays_inside(PurePosixPath(name).as_posix()):
        raise ValueError(f"expected a file inside the data folder, got {name!r}")
    return name


DataTable = Annotated[str, AfterValidator(_check_table)]
"""The name of a CSV file in a data folder."""
