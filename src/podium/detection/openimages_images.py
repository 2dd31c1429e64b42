"""The images of Open Images: how each is turned, and the addresses that it can be fetched from."""

import base64
import binascii
import csv
import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

import numpy as np

from podium.detection.openimages import AGAIN, Tell, check_id, checked_header, missing
from podium.errors import DataError

UNKNOWN = -1
"""Instead of degrees: nobody knows how the image was meant."""
TRANSFER_HEADING = "TsvHttpData-1.0"
_COLUMNS = ("ImageID", "Subset", "OriginalURL", "OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation")
_AT_A_TIME = 50_000
"""Rows between two tellings of the progress."""
_TURNS = {"": UNKNOWN, "nan": UNKNOWN, "0": 0, "90": 90, "180": 180, "270": 270}


@dataclass(frozen=True, slots=True)
class Address:
    url: str
    size: int | None = None
    """Bytes; what serves another number is another file."""
    md5: str | None = None
    """In base64, as the table and the lists of addresses have it."""


@dataclass(frozen=True, slots=True)
class KnownImage:
    """What the table tells of an image."""

    subset: str = ""
    original: Address | None = None
    thumbnail: str = ""
    turn: int = UNKNOWN
    """Degrees counterclockwise to the image as it was meant."""


NOTHING_KNOWN = KnownImage()


def read_images(path: Path, ids: Collection[str], tell: Tell = lambda done: None) -> dict[str, KnownImage]:
    """What the table says of these images; one that it lacks is not in the answer."""
    found: dict[str, KnownImage] = {}
    for (id_, subset, url, size, md5, thumbnail, rotation), where in _rows(path, _COLUMNS, tell):
        if id_ in ids:
            original = Address(url, _size(size, where), _md5(md5, where)) if url else None
            found[id_] = KnownImage(subset, original, thumbnail, _turn(rotation, where))
    return found


def ids_at_random(path: Path, seed: int, without: Collection[str]) -> Iterator[str]:
    """All images that the table has and `without` lacks, in an order that only the seed and each id decide: where
    the table has grown, the new ones stand somewhere between the others."""
    found = [row[0].encode() for row, _ in _rows(path, ("ImageID",), lambda done: None) if row[0] not in without]
    ids = np.unique(np.array(found, dtype=np.bytes_))
    ranks = np.array([rank(seed, id_) for id_ in ids], dtype=np.uint64)
    return (check_id(ids[at].decode(), str(path)) for at in np.argsort(ranks, kind="stable"))


def rank(seed: int, id_: bytes) -> int:
    """An image's place in a random order that does not depend on the others."""
    return int.from_bytes(hashlib.blake2b(b"%d/%s" % (seed, id_), digest_size=8).digest())


def read_addresses(paths: Sequence[Path], known: dict[str, KnownImage], tell: Tell) -> dict[str, Address]:
    """By an image's id, out of lists of addresses. An image's is the one that ends as its original's does, whatever
    host it names, or in its id."""
    id_of = {_last_part(image.original.url): id_ for id_, image in known.items() if image.original}
    found: dict[str, Address] = {}
    done = 0
    for path in paths:
        for number, line in enumerate(_lines_of(path), start=1):
            done += len(line)
            text = line.rstrip("\r\n")
            if number == 1:
                if text != TRANSFER_HEADING:
                    raise DataError(f"{path} does not begin with {TRANSFER_HEADING}; is it a list of addresses?")
                continue
            url, *more = text.split("\t")
            name = _last_part(url)
            id_ = id_of.get(name, name.partition(".")[0])
            if id_ in known:
                where = f"{path}, line {number}"
                if len(more) > 2:
                    raise DataError(f"{where}: expected an address, a size and a checksum: got {len(more) + 1} fields")
                size, md5 = (*more, "", "")[:2]
                found[id_] = Address(url, _size(size, where), _md5(md5, where))
        tell(done)
    return found


def addresses_of(id_: str, known: KnownImage, listed: Address | None, wanted: Sequence[str]) -> tuple[Address, ...]:
    """Where an image may be fetched from, in the order to try.

    Flickr turns the small versions that it makes, but not the originals. So a thumbnail serves only where the image
    needs no turning: of others nobody could tell how often they have been turned.
    """
    found = [listed] if listed else []
    for name in wanted:
        if name == "original":
            found += [known.original] if known.original else []
        elif name == "thumbnail":
            found += [Address(known.thumbnail)] if known.thumbnail and known.turn in (0, UNKNOWN) else []
        elif "{subset}" not in name or known.subset:
            found.append(Address(name.format(id=id_, subset=known.subset)))
    unique: dict[str, Address] = {}
    for address in found:
        unique.setdefault(address.url, address)
    return tuple(unique.values())


def transfer_list(addresses: Collection[Address]) -> str:
    """What a storage transfer service reads: address, size, checksum, sorted by the addresses' bytes."""
    rows = sorted((one.url.encode(), one.size, one.md5) for one in addresses)
    return "".join([f"{TRANSFER_HEADING}\n", *(f"{url.decode()}\t{size}\t{md5}\n" for url, size, md5 in rows)])


def _last_part(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _rows(path: Path, columns: Sequence[str], tell: Tell) -> Iterator[tuple[list[str], str]]:
    """These columns of each row, and how its place is told. A field may hold a comma, or the end of a line."""
    try:
        with path.open("rb") as opened, TextIOWrapper(opened, "utf-8-sig", errors="replace", newline="") as text:
            reader = csv.reader(text)
            header = checked_header(path, next(reader, []), columns)
            positions = [header.index(name) for name in columns]
            for number, row in enumerate(reader):
                where = f"{path}, line {reader.line_num}"
                if len(row) != len(header):
                    raise DataError(
                        f"{where}: expected {len(header)} fields, as in the header: got {len(row)}; {AGAIN}"
                    )
                yield [row[position] for position in positions], where
                if number % _AT_A_TIME == 0:
                    tell(opened.tell())
    except FileNotFoundError:
        raise missing(path) from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: no row of a table ({error}); {AGAIN}") from None


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as opened:
            yield from opened
    except FileNotFoundError:
        raise missing(path) from None


def _size(text: str, where: str) -> int | None:
    if text and not text.isdecimal():
        raise DataError(f"{where}: a size is a number of bytes: got {text!r}; {AGAIN}")
    return int(text) if text else None


def _md5(text: str, where: str) -> str | None:
    if not text:
        return None
    try:
        is_one = len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_one = False
    if not is_one:
        raise DataError(f"{where}: an MD5 in base64 is 24 letters: got {text!r}; {AGAIN}")
    return text


def _turn(text: str, where: str) -> int:
    turn = _TURNS.get(text.strip().lower().removesuffix(".0"))
    if turn is None:
        raise DataError(f"{where}: Rotation is 0, 90, 180, 270 or nan: got {text!r}; {AGAIN}")
    return turn
