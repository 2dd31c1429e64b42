"""The tables of Open Images: classes, boxes, images and lists of URLs.

The table of boxes has 14 million rows, and few of them are needed. It is read in blocks: a regular expression finds the
class of each line, and only the lines of the requested classes are parsed.
"""

import base64
import binascii
import csv
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from podium.config.problems import nearest
from podium.detection.building import random_rank
from podium.errors import MOST_LISTED, DataError

Progress = Callable[[int], None]
"""Called with the number of bytes read so far."""
COORDINATES = {"XMin": "left", "YMin": "top", "XMax": "right", "YMax": "bottom"}
"""Relative to the image's width and height."""
FLAGS = {"IsOccluded": "occluded", "IsTruncated": "truncated", "IsGroupOf": "group", "IsDepiction": "depiction",
         "IsInside": "inside"}  # fmt: skip
BLOCK = 8 << 20
"""Bytes read at a time."""
UNKNOWN = -1
"""Instead of degrees, where the rotation of an image is unknown."""
TRANSFER_HEADER = "TsvHttpData-1.0"
_IMAGE_COLUMNS = ("ImageID", "Subset", "OriginalURL", "OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation")
_ROTATIONS = {"": UNKNOWN, "nan": UNKNOWN, "0": 0, "90": 90, "180": 180, "270": 270}
_PROGRESS_ROWS = 50_000
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Ids become file names, so they must not lead to another folder."""
_MOST_DIGITS = 18
"""Of the size of an image in bytes."""
_DOWNLOAD = "download the file again"
_UNREADABLE = (ValueError, ArithmeticError)
"""What pandas raises for a line that is not of the table, or has a number that is too large."""


# Classes


def read_class_codes(path: Path) -> dict[str, str]:
    """The code of each class name. The official file has no header; the header of other versions is skipped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as opened:
            rows = list(csv.reader(opened))
    except FileNotFoundError:
        raise _missing(path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file of class codes and names ({error}); {_DOWNLOAD}") from None
    codes: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if number == 1 and row in (["LabelName", "DisplayName"], ["LabelName", "Name"]):
            continue
        if len(row) != 2 or not all(row):
            raise DataError(f"{path}, line {number}: expected a code and a name such as /m/019jd,Boat, got {row}")
        code, name = row
        if name in codes:
            raise DataError(f"{path}, line {number}: duplicate class {name!r}; {_DOWNLOAD}")
        codes[name] = code
    if not codes:
        raise DataError(f"{path} is empty; {_DOWNLOAD}")
    return codes


def class_of_codes(classes: Mapping[str, Sequence[str]], codes: Mapping[str, str], path: Path) -> dict[str, str]:
    """The class for each code, where `classes` are given by their exact names in Open Images."""
    unknown = [name for sources in classes.values() for name in sources if name not in codes]
    if unknown:
        problems = "; ".join(f"no class {name!r}{nearest(name, list(codes))}" for name in unknown[:MOST_LISTED])
        raise DataError(f"{path}: {problems} (names must match exactly)")
    return {codes[source]: name for name, sources in classes.items() for source in sources}


# Boxes


def read_boxes(
    path: Path, class_of: Mapping[str, str], progress: Progress = lambda done: None
) -> tuple[pd.DataFrame, int]:
    """All boxes with these class codes, in the order of the table, and the number of rows of the table.

    Columns: id, class, left, top, right and bottom relative to the image, and the flags.
    """
    needed = ["ImageID", "LabelName", *COORDINATES, *FLAGS]
    try:
        with path.open("rb") as opened:
            first = opened.readline(100_000)
    except FileNotFoundError:
        raise _missing(path) from None
    header = first.decode("utf-8-sig", errors="replace").strip().split(",")
    _check_header(path, header, needed)
    position = header.index("LabelName")
    pattern = re.compile(rf"(?:[^,\n]*,){{{position}}}([^,\n]*)[^\n]*\n".encode())
    codes = {code.encode() for code in class_of}
    tables = [_parse_boxes_of(path, [], header)]
    rows = 0
    for block, first_line in _blocks(path, progress):
        count = block.count(b"\n")
        labels = pattern.findall(block) if b'"' not in block else []
        if len(labels) != count:  # quoted fields, or a line without the field
            labels = [_label_of(line, position) for line in block.split(b"\n")[:count]]
        chosen = [at for at, label in enumerate(labels) if label in codes or label is None]
        if chosen:
            lines = block.split(b"\n")
            numbered = [(first_line + at, lines[at]) for at in chosen]
            tables.append(_parse_boxes_of(path, numbered, header))
        rows += count
    boxes = pd.concat(tables, ignore_index=True)
    names = pd.Categorical(boxes["class"].map(class_of), categories=list(dict.fromkeys(class_of.values())))
    return boxes.assign(**{"class": names}), rows


def _label_of(line: bytes, position: int) -> bytes | None:
    row = _fields(line)
    return row[position].encode() if len(row) > position else None


def _fields(line: bytes) -> list[str]:
    """Of one line; none if a field is longer than the csv module takes."""
    try:
        return next(csv.reader([line.decode(errors="replace")]), [])
    except csv.Error:
        return []


def _parse_boxes_of(path: Path, numbered: list[tuple[int, bytes]], header: list[str]) -> pd.DataFrame:
    try:
        return _parse_boxes([line for _, line in numbered], header)
    except _UNREADABLE as problem:
        for number, line in numbered:
            try:
                _check_coordinates(line, header)
                _parse_boxes([line], header)
            except _UNREADABLE as error:
                raise DataError(f"{path}, line {number}: {error}; {_DOWNLOAD}") from None
        raise DataError(f"{path}: {problem}; {_DOWNLOAD}") from None


def _check_coordinates(line: bytes, header: list[str]) -> None:
    for name, text in zip(header, _fields(line), strict=False):
        try:
            is_number = name not in COORDINATES or math.isfinite(float(text))
        except ValueError:
            is_number = False
        if not is_number:
            raise ValueError(f"{name}: expected a number from 0 to 1, got {text!r}")


def _parse_boxes(lines: list[bytes], header: list[str]) -> pd.DataFrame:
    """Problems are ValueErrors without the line number."""
    content = b"\n".join([",".join(header).encode(), *lines]).replace(b"\r", b"")
    if b'"' not in content and content.count(b",") != (len(header) - 1) * (len(lines) + 1):
        fields = lines[0].count(b",") + 1
        raise ValueError(f"expected {len(header)} fields, as in the header, got {fields}")
    dtypes: Any = {
        "ImageID": str,
        "LabelName": str,
        **dict.fromkeys(COORDINATES, float),
        **dict.fromkeys(FLAGS, np.int8),
    }
    if b"\0" in content:
        raise ValueError("expected text, got bytes that are zero")
    with np.errstate(invalid="raise", over="raise"):
        table = pd.read_csv(
            BytesIO(content),
            usecols=list(dtypes), dtype=dtypes, na_filter=False, skip_blank_lines=False, encoding_errors="replace",
        )[list(dtypes)]  # fmt: skip
    for name in COORDINATES:
        if not np.isfinite(table[name]).all():
            raise ValueError(f"{name}: expected a number from 0 to 1")
    for name in FLAGS:
        if not table[name].isin((-1, 0, 1)).all():  # -1: unknown
            raise ValueError(f"{name}: expected 1, 0 or -1")
    for image_id in dict.fromkeys(table["ImageID"]):
        _check_id(image_id)
    return table.assign(**{name: table[name] == 1 for name in FLAGS}).rename(
        columns={"ImageID": "id", "LabelName": "class", **COORDINATES, **FLAGS}
    )


def _check_id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError(f"expected an image id such as 000002b66c9c498e, got {text!r}")
    return text


def _blocks(path: Path, progress: Progress) -> Iterator[tuple[bytes, int]]:
    """The file without its header, in blocks of complete lines, with the number of the first line of each."""
    rest = b""
    with path.open("rb") as opened:
        done, line = len(opened.readline()), 2
        while block := opened.read(BLOCK):
            done += len(block)
            end = block.rfind(b"\n") + 1
            if not end:
                raise DataError(f"{path}, line {line}: too long for a table row; {_DOWNLOAD}")
            lines = rest + block[:end]
            rest = block[end:]
            yield lines, line
            line += lines.count(b"\n")
            progress(done)
    if rest:
        yield rest + b"\n", line


# Images and their URLs


@dataclass(frozen=True, slots=True)
class Address:
    url: str
    size: int | None = None
    """Bytes."""
    md5: str | None = None
    """In base64, as in the tables."""


@dataclass(frozen=True, slots=True)
class KnownImage:
    """A row of the image table."""

    subset: str = ""
    original: Address | None = None
    thumbnail: str = ""
    rotation: int = UNKNOWN
    """Degrees counterclockwise that rotate the image upright."""


def read_images(path: Path, ids: Collection[str], progress: Progress = lambda done: None) -> dict[str, KnownImage]:
    """The rows of these images; images that are not in the table are omitted."""
    found: dict[str, KnownImage] = {}
    for (image_id, subset, url, size, md5, thumbnail, rotation), where in _rows(path, _IMAGE_COLUMNS, progress):
        if image_id in ids:
            original = Address(url, _size(size, where), _md5(md5, where)) if url else None
            found[image_id] = KnownImage(subset, original, thumbnail, _rotation(rotation, where))
    return found


def ids_in_random_order(path: Path, seed: int, without: Collection[str]) -> Iterator[str]:
    """All ids of the table except `without`. The order of two images does not depend on the others."""
    found = [row[0].encode() for row, _ in _rows(path, ("ImageID",), lambda done: None) if row[0] not in without]
    ids = np.unique(np.array(found, dtype=np.bytes_))
    ranks = np.array([random_rank(seed, image_id) for image_id in ids], dtype=np.uint64)
    for at in np.argsort(ranks, kind="stable"):
        try:
            yield _check_id(ids[at].decode())
        except ValueError as error:
            raise DataError(f"{path}: {error}; {_DOWNLOAD}") from None


def read_addresses(paths: Sequence[Path], known: dict[str, KnownImage], progress: Progress) -> dict[str, Address]:
    """The address of each image id from lists of URLs, found by the file name of its original URL or by its id."""
    id_of = {_file_name(image.original.url): image_id for image_id, image in known.items() if image.original}
    found: dict[str, Address] = {}
    done = 0
    for path in paths:
        for number, line in enumerate(_lines_of(path), start=1):
            done += len(line)
            text = line.rstrip("\r\n")
            if number == 1:
                if text != TRANSFER_HEADER:
                    raise DataError(f"{path}: expected a list of URLs that begins with {TRANSFER_HEADER}")
                continue
            url, *more = text.split("\t")
            name = _file_name(url)
            image_id = id_of.get(name, name.partition(".")[0])
            if image_id in known:
                where = f"{path}, line {number}"
                if len(more) > 2:
                    raise DataError(f"{where}: expected a URL, a size and a checksum, got {len(more) + 1} fields")
                size, md5 = (*more, "", "")[:2]
                found[image_id] = Address(url, _size(size, where), _md5(md5, where))
        progress(done)
    return found


def addresses_of(
    image_id: str, known: KnownImage, listed: Address | None, patterns: Sequence[str]
) -> tuple[Address, ...]:
    """The addresses to try for an image, in order.

    Flickr rotates the thumbnails that it makes, but not the originals, so a thumbnail is only used for an image that
    needs no rotation.
    """
    found = [listed] if listed else []
    for pattern in patterns:
        if pattern == "original":
            found += [known.original] if known.original else []
        elif pattern == "thumbnail":
            found += [Address(known.thumbnail)] if known.thumbnail and known.rotation in (0, UNKNOWN) else []
        elif "{subset}" not in pattern or known.subset:
            found.append(Address(pattern.format(id=image_id, subset=known.subset)))
    unique: dict[str, Address] = {}
    for address in found:
        unique.setdefault(address.url, address)
    return tuple(unique.values())


def transfer_list(addresses: Collection[Address]) -> str:
    """The input of a storage transfer service: URL, size and checksum, sorted by the bytes of the URLs."""
    rows = sorted((address.url.encode(), address.size, address.md5) for address in addresses)
    return "".join([f"{TRANSFER_HEADER}\n", *(f"{url.decode()}\t{size}\t{md5}\n" for url, size, md5 in rows)])


def _file_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _rows(path: Path, columns: Sequence[str], progress: Progress) -> Iterator[tuple[list[str], str]]:
    """These columns of each row, and its place in the file for error messages."""
    try:
        with path.open("rb") as opened, TextIOWrapper(opened, "utf-8-sig", errors="replace", newline="") as text:
            reader = csv.reader(text)
            header = next(reader, [])
            _check_header(path, header, columns)
            positions = [header.index(name) for name in columns]
            for number, row in enumerate(reader):
                where = f"{path}, line {reader.line_num}"
                if len(row) != len(header):
                    raise DataError(
                        f"{where}: expected {len(header)} fields, as in the header, got {len(row)}; {_DOWNLOAD}"
                    )
                yield [row[position] for position in positions], where
                if number % _PROGRESS_ROWS == 0:
                    progress(opened.tell())
    except FileNotFoundError:
        raise _missing(path) from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error}); {_DOWNLOAD}") from None


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as opened:
            yield from opened
    except FileNotFoundError:
        raise _missing(path) from None


def _check_header(path: Path, header: list[str], needed: Collection[str]) -> None:
    absent = [name for name in needed if name not in header]
    if absent:
        shown = ", ".join(header)[:100] or "nothing"
        raise DataError(f"{path}: missing column {', '.join(absent)} in the first line, got {shown}")


def _missing(path: Path) -> DataError:
    return DataError(f"{path} is missing; download it, set its name in the detector file, or its folder with --data")


def _size(text: str, where: str) -> int | None:
    if text and not (text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise DataError(f"{where}: expected a size in bytes, got {text!r}; {_DOWNLOAD}")
    return int(text) if text else None


def _md5(text: str, where: str) -> str | None:
    if not text:
        return None
    try:
        is_md5 = len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_md5 = False
    if not is_md5:
        raise DataError(f"{where}: expected an MD5 checksum in base64, got {text!r}; {_DOWNLOAD}")
    return text


def _rotation(text: str, where: str) -> int:
    rotation = _ROTATIONS.get(text.strip().lower().removesuffix(".0"))
    if rotation is None:
        raise DataError(f"{where}: Rotation: expected 0, 90, 180, 270 or nan, got {text!r}; {_DOWNLOAD}")
    return rotation
