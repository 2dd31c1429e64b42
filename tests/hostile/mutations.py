"""Broken and hostile variants of valid files, and what a reader may do with them."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.console import message_text
from podium.errors import PodiumError
from podium.hardware import peak_memory

SHORT, LONG = 8, 200
"""Examples of a reader in the fast tests and in the slow ones."""
SECONDS = 20.0
"""The longest a reader may compute; another process may take its cores, so not the time that passes."""
MEMORY = 2e9
"""The most bytes that a reader may use."""
RESET_PEAK = Path("/proc/self/clear_refs")
_DIGITS, _DEEP, _HUGE, _INFINITE = "@digits@", "@deep@", "@huge@", "@infinite@"
_RAW = {_DIGITS: "7" * 5_000, _DEEP: "[" * 50_000 + "]" * 50_000, _HUGE: "1" + "0" * 400, _INFINITE: "1e999"}
"""What Python does not write itself, by the text that stands for it until the file is written."""
TEXTS = [
    "", " ", "\0", "a\0b", "\ud800", "\x1b[2J", "[/x]", "\u202e", "x" * 150_000, "../../etc/passwd", "/etc/passwd",
    "\n", '"', "a,b", "=1+1", "1e308", "-1e308", "1e999", "nan", "inf", "-1", "0", "01", "1.5", "²", "١", "null",
    "true", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31", "{id}", "{0.__class__}", "%s",
    "a/" * 1_500, *_RAW,
]  # fmt: skip
VALUES = [
    None, True, False, -1, 0, 1, 1.5, 2**63, 1e308, float("nan"), float("inf"), [], {}, [None], [[]], ["a", "a"],
    {"a": 1}, {"": ""}, *TEXTS,
]  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """A function that reads a file from outside."""

    name: str
    form: str
    """bytes, json, yaml or csv."""
    prepare: Callable[[Any], tuple[Path, Callable[[], object]]]
    """Given a fixture of its area: the valid file that is changed, and what reads it."""

    def __str__(self) -> str:
        return self.name


def try_variants(reader: Reader, place: Any, examples: int) -> None:
    """Read broken variants of the reader's file; with many examples also those that only lack a value."""
    path, read = reader.prepare(place)
    valid = path.read_bytes()
    read()

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.randoms(use_true_random=False))
    def read_variant(random: Random) -> None:
        path.write_bytes(variant(random, reader.form, valid))
        check_read(read)

    read_variant()
    for content in _without_one(reader.form, valid) if examples == LONG else ():
        path.write_bytes(content)
        check_read(read)


def check_read(read: Callable[[], object]) -> None:
    """Reading succeeds, or fails with an error that has a message, and soon, in little memory."""
    start, before = time.process_time(), _start_of_peak()
    try:
        read()
    except PodiumError as error:
        text = message_text(str(error))
        assert text.strip()
        assert text.encode()
    assert time.process_time() - start < SECONDS
    assert peak_memory() - before < MEMORY


def _start_of_peak() -> int:
    """The memory of this process in bytes; Linux measures the peak from here on."""
    if RESET_PEAK.exists():
        RESET_PEAK.write_text("5")
    return peak_memory()


def variant(random: Random, form: str, valid: bytes) -> bytes:
    """The file with one thing changed."""
    if form == "bytes" or random.random() < 0.25:
        return _change_bytes(random, valid)
    if form == "csv":
        return _change_table(random, valid)
    text = valid.decode()
    if form == "yaml":
        return _as_json(_change_tree(random, yaml.safe_load(text)))
    if form == "json":
        return _as_json(_change_tree(random, json.loads(text)))
    raise AssertionError(form)


def _change_bytes(random: Random, valid: bytes) -> bytes:
    content = bytearray(valid)
    start = random.randrange(len(content) + 1)
    end = min(len(content), start + random.choice([1, 1, 2, 4, 16, 1_000]))
    match random.randrange(8):
        case 0:
            del content[start:]
        case 1:
            del content[start:end]
        case 2:
            content[start:end] = bytes(end - start)
        case 3:
            content[start:end] = b"\xff" * (end - start)
        case 4:
            content[start:start] = content[start:end] * random.choice([1, 2, 100])
        case 5:
            content[start:end] = random.randbytes(end - start)
        case 6:
            content[start:start] = random.choice(TEXTS).encode("utf-8", "surrogatepass")
        case 7:
            content[:] = random.choice(
                [b"", b"\0" * 100, b"\xef\xbb\xbf", b"\xff\xfe", b"[" * 10_000, b"null", b"[]", b"{}"]
            )
    return _with_raw(bytes(content))


def _change_tree(random: Random, tree: Any) -> Any:
    """One value or subtree replaced, or removed."""
    tree = deepcopy(tree)
    places = list(_places(tree))
    if not places or random.random() < 0.03:
        return random.choice(VALUES)
    parent, key = random.choice(places)
    if random.random() < 0.1:
        del parent[key]
    elif isinstance(parent, dict) and random.random() < 0.1:
        parent[random.choice(TEXTS)] = parent.pop(key)
    else:
        parent[key] = random.choice(VALUES)
    return tree


def _without_one(form: str, valid: bytes) -> Iterator[bytes]:
    """The file without one of its values, each in turn."""
    if form not in ("json", "yaml"):
        return
    tree = yaml.safe_load(valid) if form == "yaml" else json.loads(valid)
    for number in range(len(list(_places(tree)))):
        copy = deepcopy(tree)
        parent, key = next(islice(_places(copy), number, None))
        del parent[key]
        yield _as_json(copy)


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _as_json(tree: Any) -> bytes:
    text = json.dumps(tree)
    for name, raw in _RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()


def _change_table(random: Random, valid: bytes) -> bytes:
    rows = list(csv.reader(io.StringIO(valid.decode())))
    row = random.choice(rows)
    at = random.randrange(len(row))
    match random.randrange(10):
        case 0:
            row.insert(at, random.choice(TEXTS))
        case 1:
            del row[at]
        case 2:
            rows.append(list(row))
        case 3:
            rows.remove(row)
        case _:
            row[at] = random.choice(TEXTS)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return _with_raw(text.getvalue().encode("utf-8", "surrogatepass"))


def _with_raw(content: bytes) -> bytes:
    for name, raw in _RAW.items():
        content = content.replace(name.encode(), raw.encode())
    return content
