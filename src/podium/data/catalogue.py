"""The catalogue of images: the digest of each file, whether it is readable, and the location of its cached pixels.

Every file is read once. Its digest is stored in the cache folder, and valid as long as the file's size and times do not
change.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from podium.arrays import read_npy
from podium.config.reading import AS_USUAL, Reading
from podium.data.conversion import DEEP, PAGES, TRANSPARENT
from podium.data.image_cache import Cache, CachedImages, CacheWriter, Digests, ImageLocation, open_writer
from podium.data.image_headers import JPEG, is_plain
from podium.data.image_paths import path_text, reading_of
from podium.data.images import Image, Scaling, check_complete, decode_scaled, is_quick, read_files, read_scaled
from podium.errors import DataError
from podium.files import atomic_write
from podium.hardware import worker_count
from podium.paths import cache_folder
from podium.progress import tracked

Item = TypeVar("Item")
Result = TypeVar("Result")

_ENTRY = np.dtype([("file", "S16"), ("digest", "S16"), ("readable", "?"), ("traits", "u1")])
_CHUNK = 4_096
"""Rows that are looked up at a time, so that the memory for it stays small."""
_FILES_PER_TASK = 8
"""Handing over a task takes as long as hashing a small image."""
_FileContent = tuple[bytes, bool, int, list[tuple[Scaling, Image]]]
"""The digest of a file, whether it is a complete image, its traits, and the image in the scalings to be cached."""
_MANY = 2_000
"""Progress and results are printed for at least this many images."""


@dataclass(frozen=True)
class Catalogue:
    digests: Digests
    readable: NDArray[np.bool_]
    traits: NDArray[np.uint8]
    """What is unusual about each image; 0 for most."""
    reading: Reading = AS_USUAL

    @property
    def digest(self) -> str:
        """Changes with every pixel of every readable image."""
        content = self.digests[self.readable].tobytes() + str(self.reading).encode()
        return hashlib.sha256(content).hexdigest()[:16]

    @property
    def notes(self) -> list[str]:
        """How unusual images are read."""
        intensity, several = self.reading.intensity, self.reading.pages == "channels"
        auto = " (the window of a DICOM file, else the 1st to 99th percentile of the image)"
        texts = {
            DEEP: f"have more than 8 bits, scaled by intensity: {intensity}{auto * (intensity.rule == 'auto')}",
            TRANSPARENT: "are partly transparent, on black",
            PAGES: "have several pages, " + ("one for each channel" if several else "of which the first is used"),
        }
        counts = {trait: int(np.count_nonzero(self.traits & trait)) for trait in texts}
        return [f"{counts[trait]:,} images {text}" for trait, text in texts.items() if counts[trait]]


class ImageSource:
    """The images of a list of rows, from the cache if they are in it."""

    def __init__(self, paths: Sequence[Path], cache: Cache | None = None) -> None:
        self._paths, self._reading = paths, reading_of(paths)
        self._cache = cache if cache and cache.gigabytes > 0 else None
        self._found: dict[Scaling, CachedImages] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def cache_images(self, scalings: Iterable[Scaling], *, only_new: bool = False) -> None:
        """Decode the images that are not cached in these scalings and cache them, as far as there is room.

        With `only_new`, only those that no catalogue has read before, since these files are read anyway.
        """
        absent = {scaling for scaling in scalings if scaling not in self._found}
        if self._cache is None or not absent or not len(self._paths):
            return
        console, began = self._cache.console, time.perf_counter()
        try:
            with open_writer(absent, self._cache, self._reading) as writer:
                known = read_catalogue(self._paths, self._cache.name, console, writer, only_new=only_new)
        except OSError as error:
            if console is not None:
                console.print(
                    f"  images are not cached in {cache_folder()} ({error.strerror or error}), but decoded whenever"
                    " they are needed; set PODIUM_CACHE to another folder",
                    highlight=False,
                )
            return
        if console is not None and writer.count >= _MANY:
            sizes = " and ".join(str(scaling.size) for scaling in writer.stores)
            seconds = time.perf_counter() - began
            console.print(f"  cached {writer.count:,} images at {sizes} px in {seconds:.1f} s", highlight=False)
        self._found |= {scaling: store.find(known.digests) for scaling, store in writer.stores.items()}

    def content(self) -> bytes:
        """Changes with every pixel of every image."""
        known = read_catalogue(self._paths, self._cache.name if self._cache else "images")
        return known.digests.tobytes() + str(self._reading).encode()

    def location(self, row: int, scalings: Sequence[Scaling]) -> ImageLocation:
        cached = tuple(found[row] if (found := self._found.get(scaling)) else None for scaling in scalings)
        return ImageLocation(path_text(self._paths, row), cached, self._reading)


def read_catalogue(
    paths: Sequence[Path],
    name: str = "images",
    console: Console | None = None,
    writer: CacheWriter | None = None,
    *,
    only_new: bool = False,
) -> Catalogue:
    """The catalogue of these images, in their order. Reads the files that are new or have changed.

    With a `writer`, the images that are read are also decoded and cached, and those that are known but not cached are
    read too, unless `only_new`.
    """
    reading = reading_of(paths)
    name += str(reading)  # whether a file can be read depends on it
    entries, known = _look_up(paths, name)
    to_read = ~known
    if writer and not only_new:
        to_read |= writer.missing(entries["digest"])
    rows = np.flatnonzero(to_read)
    if len(rows):
        if writer:
            writer.reserve(len(rows))

        def read(row: int) -> _FileContent:
            path = path_text(paths, row)
            if writer and known[row]:
                return _read_known(path, entries[row], writer, reading)
            return _read_new(path, writer, reading)

        contents = in_parallel(read, rows.tolist(), "reading images", console)
        for row, (digest, readable, traits, images) in zip(rows, contents, strict=True):
            entries["digest"][row], entries["readable"][row], entries["traits"][row] = digest, readable, traits
            if writer and images:
                writer.add(digest, images)
        _save(name, entries[rows])
    return Catalogue(entries["digest"].copy(), entries["readable"].copy(), entries["traits"].copy(), reading)


def unreadable(paths: Sequence[Path], name: str = "images", console: Console | None = None) -> list[Path]:
    """The files that are not complete images."""
    return [paths[row] for row in np.flatnonzero(~read_catalogue(paths, name, console).readable)]


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], description: str, console: Console | None = None
) -> Iterable[Result]:
    """The results in the order of the items, from one thread per core; for work that releases the interpreter lock."""
    with ThreadPoolExecutor(worker_count()) as pool:
        results = _results(work, items, pool)
        if console is not None and len(items) >= _MANY:
            results = tracked(results, description, len(items), console)
        yield from results


def _results(work: Callable[[Item], Result], items: Sequence[Item], pool: ThreadPoolExecutor) -> Iterable[Result]:
    # Tasks are submitted in chunks: each waiting task takes half a kilobyte.
    for start in range(0, len(items), _MANY):
        end = min(start + _MANY, len(items))
        tasks = [items[at : min(at + _FILES_PER_TASK, end)] for at in range(start, end, _FILES_PER_TASK)]
        for results in pool.map(lambda task: [work(item) for item in task], tasks):
            yield from results


def _look_up(paths: Sequence[Path], name: str) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    """An entry for each image, and which of them are known. Unreadable files are read again: they may be replaced."""
    entries = np.zeros(len(paths), dtype=_ENTRY)
    entries["file"] = file_digests(paths)
    saved, known = _load(name), np.zeros(len(paths), dtype=bool)
    for start in range(0, len(paths) if len(saved) else 0, _CHUNK):
        chunk = entries[start : start + _CHUNK]
        position = np.searchsorted(saved["file"], chunk["file"])
        position[position == len(saved)] = 0
        hit = (saved["file"][position] == chunk["file"]) & saved["readable"][position]
        chunk[hit] = saved[position[hit]]
        known[start : start + _CHUNK] = hit
    return entries, known


def file_digests(paths: Sequence[Path]) -> NDArray[np.bytes_]:
    """Of each image."""
    reading = reading_of(paths)
    found = (file_digest(reading.files_of(path_text(paths, row))) for row in range(len(paths)))
    return np.fromiter(found, dtype="S16", count=len(paths))


def file_digest(paths: Sequence[str]) -> bytes:
    """Changes whenever a file of the image does: writing to it sets its ctime, which cannot be set back."""
    try:
        found = [(path, os.stat(path)) for path in paths]  # noqa: PTH116  # creating a Path takes several times as long
    except OSError:
        return b"missing"
    text = "\0".join(
        f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{status.st_ino}"
        for path, status in found
    )
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()


def _saved_at(name: str) -> Path:
    return cache_folder() / "catalogue" / f"{name}.npy"


def _load(name: str) -> NDArray[np.void]:
    """The saved entries, sorted by file; none if they are damaged."""
    try:
        with _saved_at(name).open("rb") as opened:
            saved = read_npy(opened)
    except (OSError, ValueError):
        return np.empty(0, dtype=_ENTRY)
    return saved if saved.dtype == _ENTRY else np.empty(0, dtype=_ENTRY)


def _save(name: str, new: NDArray[np.void]) -> None:
    entries = np.concatenate([new[new["file"] != b"missing"], _load(name)])
    _, first = np.unique(entries["file"], return_index=True)
    with suppress(OSError), atomic_write(_saved_at(name), fsync=False) as temporary, temporary.open("wb") as opened:
        np.save(opened, entries[first])


def _read_new(path: str, writer: CacheWriter | None, reading: Reading) -> _FileContent:
    try:
        encoded = read_files(path, reading)
    except DataError:
        return b"", False, 0, []
    contents = [part.tobytes() for part in encoded]
    digest = hashlib.sha256(b"".join(contents)).digest()[:16].rstrip(b"\0")  # as NumPy returns it
    try:
        for content in contents:
            check_complete(path, content)
        scalings = writer.claim(digest) if writer else []
        images, traits = decode_scaled(path, encoded, scalings, reading)
    except (DataError, cv2.error):
        return digest, False, 0, []
    readable = bool(images) or not is_quick(encoded, reading) or _is_decodable(encoded[0])
    return digest, readable, traits, list(zip(scalings, images, strict=True))


def _read_known(path: str, entry: np.void, writer: CacheWriter, reading: Reading) -> _FileContent:
    """The file is not read if there is no more room for its image."""
    digest, traits = bytes(entry["digest"]), int(entry["traits"])
    scalings = writer.claim(digest)
    try:
        images = read_scaled(path, scalings, reading) if scalings else []
    except DataError:  # removed or damaged meanwhile: reported when the image is needed
        return digest, True, traits, []
    return digest, True, traits, list(zip(scalings, images, strict=True))


def is_complete_image(content: bytes) -> bool:
    encoded = np.frombuffer(content, dtype=np.uint8)
    try:
        check_complete("", content)
        decode_scaled("", [encoded], [])
    except DataError:
        return False
    return not is_plain(encoded) or _is_decodable(encoded)


def _is_decodable(content: Image) -> bool:
    # Decoding a JPEG at an eighth of its size is several times as fast, and fails for the same files.
    flag = cv2.IMREAD_REDUCED_COLOR_8 if content[:2].tobytes() == JPEG else cv2.IMREAD_COLOR
    try:
        return bool(content.size) and cv2.imdecode(content, flag) is not None
    except cv2.error:
        return False
