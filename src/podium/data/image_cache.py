"""The cache of decoded images, so that each image is decoded once.

    images/<competition>-<scaling>-v<version>/    one entry of the cache for each scaling; the competition includes
                                                  how its images are read, if that is unusual
      pixels.bin    the pixels, one image after the other; processes map this file into their memory
      index.bin     a record for each image

Both files are only appended to, a record after its pixels. A record whose pixels are missing, or do not have its
checksum, is a cache miss: the image is decoded from its file again.
"""

import mmap
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from podium.config.reading import AS_USUAL, Reading
from podium.data.cache import available, entry_of, make_room, mark_used
from podium.data.images import DECODER_VERSION, Image, Resize, Scaling, read_scaled
from podium.locks import wait_for_lock

Digests = NDArray[np.bytes_]
"""The digests of images' files, 16 bytes each."""
RECORD = np.dtype([("digest", "S16"), ("start", "<i8"), ("height", "<i4"), ("width", "<i4"), ("checksum", "<u4")])
_FOUND = np.dtype([("number", "<i4"), *((name, RECORD[name]) for name in ("start", "height", "width", "checksum"))])
_RECORDS_PER_WRITE = 64
VERSION = f"{DECODER_VERSION}.1"
"""Of the pixels and of these files."""
_ASPECT: dict[Resize, float] = {"squash": 1.0, "crop": 2.0, "pad": 1.0}
"""Approximate maximum area of a scaled image, in squares of its size."""


@dataclass(frozen=True)
class Cache:
    """The name under which images are cached, and the size limit of the whole cache."""

    name: str
    gigabytes: float
    console: Console | None = None


@dataclass(frozen=True)
class CachedImage:
    """The record of an image, and the file with its pixels. `inode` detects that the file was replaced."""

    file: str
    inode: int
    number: int
    start: int
    height: int
    width: int
    checksum: int


@dataclass(frozen=True)
class ImageLocation:
    """The file of an image, and its cached pixels in each of several scalings if there are any."""

    path: str
    cached: tuple[CachedImage | None, ...]
    reading: Reading = AS_USUAL


@dataclass(frozen=True)
class CachedImages:
    """The records of many images, by row; the number is -1 if an image is not cached."""

    file: str
    inode: int
    records: NDArray[np.void]

    def __getitem__(self, row: int) -> CachedImage | None:
        number, start, height, width, checksum = self.records[row].item()
        return CachedImage(self.file, self.inode, number, start, height, width, checksum) if number >= 0 else None

    @property
    def missing(self) -> NDArray[np.bool_]:
        return np.asarray(self.records["number"] < 0)


class ImageStore:
    """The cached images of a competition in one scaling."""

    def __init__(self, name: str, scaling: Scaling, reading: Reading = AS_USUAL) -> None:
        self.scaling, self._channels = scaling, reading.channels
        self.entry = entry_of("images", f"{name}{reading}-{scaling}-v{VERSION}")
        self.pixels, self.index = self.entry / "pixels.bin", self.entry / "index.bin"

    @property
    def bytes_per_image(self) -> int:
        """The approximate size of a cached image."""
        return int(self._channels * _ASPECT[self.scaling.resize] * self.scaling.size**2)

    def find(self, digests: Digests) -> CachedImages:
        records = self.read_index()
        found = np.zeros(len(digests), dtype=_FOUND)
        found["number"] = -1
        if not len(records):
            return CachedImages(str(self.pixels), 0, found)
        order = np.argsort(records["digest"], kind="stable")
        position = np.searchsorted(records["digest"], digests, sorter=order)
        position[position == len(order)] = 0
        number = order[position]
        hit = (records["digest"][number] == digests) & (records["height"][number] > 0)
        found["number"][hit] = number[hit]
        for name in ("start", "height", "width", "checksum"):
            found[name][hit] = records[name][number[hit]]
        return CachedImages(str(self.pixels), self.pixels.stat().st_ino, found)

    def read_index(self) -> NDArray[np.void]:
        """All records. Invalid ones, and those beyond the end of the pixels, are zeroed."""
        try:
            content, size = self.index.read_bytes(), self.pixels.stat().st_size
        except OSError:
            return np.empty(0, dtype=RECORD)
        records = np.frombuffer(content, dtype=RECORD, count=len(content) // RECORD.itemsize).copy()
        start, height, width = (records[name].astype(np.float64) for name in ("start", "height", "width"))
        valid = (start >= 0) & (height > 0) & (width > 0) & (start + self._channels * height * width <= size)
        records[~valid] = np.zeros((), RECORD)
        return records


class CacheWriter:
    """Adds images to stores as long as there is room."""

    def __init__(self, stores: Sequence[ImageStore], cache: Cache) -> None:
        self.stores, self._cache = {store.scaling: store for store in stores}, cache
        self._lock = threading.Lock()
        self._known = {store.scaling: np.sort(store.read_index()["digest"]) for store in stores}
        self._added: dict[Scaling, set[bytes]] = {store.scaling: set() for store in stores}
        self._files: dict[Scaling, _StoreWriter] = {}
        self._room, self._is_full = 0, False
        self.count = 0
        """Images added so far, each in one scaling or more."""

    def missing(self, digests: Digests) -> NDArray[np.bool_]:
        """The images that are not cached in every scaling."""
        missing = [store.find(digests).missing for store in self.stores.values()]
        return np.asarray(np.any(missing, axis=0))

    def reserve(self, count: int) -> None:
        """Make room for this many images, or for as many as possible."""
        entry = next(iter(self.stores.values())).entry
        needed = count * sum(store.bytes_per_image for store in self.stores.values())
        room = min(needed, available(entry, self._cache.gigabytes))
        self._room = room if make_room(entry, room, self._cache.gigabytes) else 0

    def claim(self, digest: bytes) -> list[Scaling]:
        """The scalings in which the caller should add this image. Thread-safe."""
        with self._lock:
            return [scaling for scaling in self.stores if self._claim(scaling, digest)]

    def _claim(self, scaling: Scaling, digest: bytes) -> bool:
        size, known = self.stores[scaling].bytes_per_image, self._known[scaling]
        if self._room < size or digest in self._added[scaling]:
            return False
        position = int(np.searchsorted(known, np.bytes_(digest)))
        if position < len(known) and known[position] == digest:
            return False
        self._room -= size
        self._added[scaling].add(digest)
        return True

    def add(self, digest: bytes, images: Iterable[tuple[Scaling, Image]]) -> None:
        added = False
        for scaling, image in images:
            if self._is_full:
                break
            try:
                if scaling not in self._files:
                    self._files[scaling] = _StoreWriter(self.stores[scaling])
                self._files[scaling].add(digest, image)
                added = True
            except OSError:  # the disk is full, for example: images that are not cached are decoded again
                self._room, self._is_full = 0, True
        self.count += added

    def close(self) -> None:
        for file in self._files.values():
            with suppress(OSError):
                file.close()


@contextmanager
def open_writer(scalings: Iterable[Scaling], cache: Cache, reading: Reading = AS_USUAL) -> Iterator[CacheWriter]:
    """Stores of these scalings; another process that wants to write to them waits until the block ends."""
    stores = [ImageStore(cache.name, scaling, reading) for scaling in sorted(scalings, key=str)]
    with ExitStack() as stack:
        for store in stores:
            stack.enter_context(wait_for_lock(store.entry))
            store.entry.mkdir(parents=True, exist_ok=True)
            mark_used(store.entry)
        writer = CacheWriter(stores, cache)
        stack.callback(writer.close)
        yield writer


class _StoreWriter:
    """Appends images to one store. Images that were not flushed when the process ended are lost."""

    def __init__(self, store: ImageStore) -> None:
        self._pixels, self._index = store.pixels.open("ab"), store.index.open("ab")
        complete = self._index.tell() // RECORD.itemsize  # a killed process may have written part of a record
        self._index.truncate(complete * RECORD.itemsize)
        self._end = self._pixels.tell()
        self._records: list[tuple[bytes, int, int, int, int]] = []

    def add(self, digest: bytes, image: Image) -> None:
        height, width = image.shape[:2]
        pixels = np.ascontiguousarray(image).reshape(-1)
        self._pixels.write(pixels.data)
        self._records.append((digest, self._end, height, width, _checksum(pixels)))
        self._end += image.nbytes
        if len(self._records) == _RECORDS_PER_WRITE:
            self._flush()

    def _flush(self) -> None:
        self._pixels.flush()
        self._index.write(np.array(self._records, dtype=RECORD).tobytes())
        self._index.flush()
        self._records = []

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._index.close()
            self._pixels.close()


class ImageReader:
    """Scaled images, from the cache if possible, otherwise from their files. Not thread-safe."""

    def __init__(self) -> None:
        self._files: dict[str, _MappedPixels] = {}

    def __call__(self, location: ImageLocation, scalings: Sequence[Scaling]) -> list[Image]:
        """The image in each scaling. Missing scalings are decoded together. Images may be read-only."""
        channels = location.reading.channels
        images = [self._read(cached, channels) if cached else None for cached in location.cached]
        absent = [scaling for scaling, image in zip(scalings, images, strict=True) if image is None]
        decoded = iter(read_scaled(location.path, absent, location.reading) if absent else ())
        return [next(decoded) if image is None else image for image in images]

    def _read(self, cached: CachedImage, channels: int) -> Image | None:
        """None if the file was replaced or is damaged."""
        file = self._files.get(cached.file)
        if file is None or not file.has(cached, channels):
            try:
                file = self._files[cached.file] = _MappedPixels(cached.file)
            except (OSError, ValueError):
                return None
        return file.read(cached, channels) if file.has(cached, channels) else None


_of_thread = threading.local()


def reader_of_thread() -> ImageReader:
    """The reader that this thread always uses."""
    if not hasattr(_of_thread, "reader"):
        _of_thread.reader = ImageReader()
    reader: ImageReader = _of_thread.reader
    return reader


def _checksum(pixels: Image) -> int:
    """Of a flat array. A sum takes a twentieth of the time of CRC-32, and notices pages that were never written."""
    whole = len(pixels) // 8 * 8
    total = int(pixels[:whole].view(np.uint64).sum()) + int(pixels[whole:].sum())
    return (total ^ total >> 32) & 0xFFFFFFFF


class _MappedPixels:
    """A file of pixels, mapped into memory. The checksum of each image is verified when it is first read."""

    def __init__(self, path: str) -> None:
        with Path(path).open("rb") as opened:
            self._inode = os.fstat(opened.fileno()).st_ino
            self._content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self._verified = bytearray()
        """One byte per record."""

    def has(self, cached: CachedImage, channels: int) -> bool:
        size = channels * cached.height * cached.width
        return self._inode == cached.inode and cached.start + size <= len(self._content)

    def read(self, cached: CachedImage, channels: int) -> Image | None:
        size = channels * cached.height * cached.width
        pixels = np.frombuffer(self._content, dtype=np.uint8, count=size, offset=cached.start)
        self._verified.extend(bytes(max(0, cached.number + 1 - len(self._verified))))
        if not self._verified[cached.number]:
            if _checksum(pixels) != cached.checksum:
                return None
            self._verified[cached.number] = 1
        return pixels.reshape(cached.height, cached.width, channels)
