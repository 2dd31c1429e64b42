"""A store of images in one frame, as bytes that processes map into their memory.

`images.bin` holds the pixels, one image after the other; `index.bin` a record for each: the digest of the file's
content, where the pixels begin, height and width, and a checksum that a reader compares at its first look. A record is
written after its pixels, and only ever added, so a kill leaves at most pixels without a record, which the next writer
overwrites. After a power cut the disk may have a record without its pixels, so records count only up to what was
synced, unless the machine has run on since.
"""

import mmap
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from podium.data.catalogue import Digests
from podium.data.images import Image
from podium.files import write_text
from podium.locks import wait_for_lock

RECORD = np.dtype([("content", "S16"), ("start", "<i8"), ("height", "<i4"), ("width", "<i4"), ("checksum", "<u4")])
_PLACE = np.dtype([("number", "<i4"), *((name, RECORD[name]) for name in ("start", "height", "width", "checksum"))])
_A_WRITE = 64
"""Images whose records are written at once."""


@dataclass(frozen=True)
class Kept:
    """Where an image's pixels lie. The file may have been dropped and made anew since: `inode` tells."""

    path: str
    inode: int
    number: int
    """Of its record."""
    start: int
    height: int
    width: int
    checksum: int


@dataclass(frozen=True)
class Places:
    """Where the images of a list of rows lie; a start of -1 is nowhere."""

    path: str
    inode: int
    records: NDArray[np.void]

    def of(self, row: int) -> Kept | None:
        number, start, height, width, checksum = self.records[row].item()
        return Kept(self.path, self.inode, number, start, height, width, checksum) if start >= 0 else None

    @property
    def missing(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.records["start"] < 0)


class Store:
    def __init__(self, entry: Path) -> None:
        self.entry = entry
        self._pixels, self._index = entry / "images.bin", entry / "index.bin"
        self._synced = entry / "synced"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer at a time; another waits for it, and finds what it has made."""
        with wait_for_lock(self.entry):
            self.entry.mkdir(parents=True, exist_ok=True)
            self._trim()
            yield

    def places(self, contents: Digests) -> Places:
        """Where these images lie."""
        index = self._read_index()
        order = np.argsort(index["content"], kind="stable")
        known = index["content"][order]
        found = np.searchsorted(known, contents)
        found[found == len(known)] = 0
        are_known = known[found] == contents if len(known) else np.zeros(len(contents), dtype=bool)
        records = np.zeros(len(contents), dtype=_PLACE)
        records["start"] = -1
        records["number"][are_known] = order[found[are_known]]
        for name in ("start", "height", "width", "checksum"):
            records[name][are_known] = index[name][records["number"][are_known]]
        inode = self._pixels.stat().st_ino if len(index) else 0
        return Places(str(self._pixels), inode, records)

    def contents(self) -> Digests:
        """The digests of all that is kept."""
        return self._read_index()["content"].copy()

    def writer(self) -> "Writer":
        """Within `writing`."""
        return Writer(self._pixels, self._index, self._end(self._read_index()))

    def sync(self) -> None:
        """Make what is there outlive a power cut; takes as long as the disk needs, and may be left out."""
        with suppress(OSError, ValueError):
            records = self._index.stat().st_size // RECORD.itemsize
            for path in (self._pixels, self._index):
                with path.open("rb") as opened:
                    os.fsync(opened.fileno())
            write_text(self._synced, f"{records} {_boot()}\n", fsync=False)

    def _trim(self) -> None:
        """Leave out what a writer that was ended left half-written, and what a power cut may have taken."""
        index = self._read_index()
        if self._index.exists() and self._index.stat().st_size != index.nbytes:
            with self._index.open("r+b") as opened:
                opened.truncate(index.nbytes)
        if self._records_synced()[1] != _boot():
            write_text(self._synced, f"{len(index)} {_boot()}\n", fsync=False)

    def _read_index(self) -> NDArray[np.void]:
        try:
            content = self._index.read_bytes()
            held = self._pixels.stat().st_size
        except OSError:
            return np.empty(0, dtype=RECORD)
        count = len(content) // RECORD.itemsize
        synced, boot = self._records_synced()
        if boot not in ("", _boot()):
            count = min(count, synced)
        index = np.frombuffer(content, dtype=RECORD, count=count)
        sizes = 3 * index["height"].astype(np.int64) * index["width"]
        ends = np.cumsum(sizes)
        are_sound = (index["height"] > 0) & (index["width"] > 0) & (index["start"] == ends - sizes) & (ends <= held)
        broken = np.flatnonzero(~are_sound)  # what comes after a record that cannot be is not to be trusted either
        return index[: broken[0]] if len(broken) else index

    def _records_synced(self) -> tuple[int, str]:
        """How many records are known to be on the disk, and since which start of the machine all of them count."""
        try:
            count, _, boot = self._synced.read_text().strip().partition(" ")
            return int(count), boot
        except (OSError, ValueError):
            return 0, ""

    @staticmethod
    def _end(index: NDArray[np.void]) -> int:
        return 0 if not len(index) else int(index["start"][-1]) + 3 * int(index["height"][-1]) * int(index["width"][-1])


class Writer:
    """Adds images one by one. What was not flushed when the process ended is not there."""

    def __init__(self, pixels: Path, index: Path, end: int) -> None:
        self._end = end
        self._waiting: list[tuple[bytes, int, int, int, int]] = []
        self._pixels = pixels.open("r+b" if pixels.exists() else "w+b")
        self._pixels.seek(end)
        self._index = index.open("ab")

    def close(self) -> None:
        self._flush()
        self._pixels.close()
        self._index.close()

    def add(self, content: bytes, image: Image) -> None:
        """OSError where the disk is full; then nothing more may be added."""
        height, width = image.shape[:2]
        pixels = np.ascontiguousarray(image).data
        self._pixels.write(pixels)
        self._waiting.append((content, self._end, height, width, zlib.crc32(pixels)))
        self._end += image.nbytes
        if len(self._waiting) == _A_WRITE:
            self._flush()

    def _flush(self) -> None:
        self._pixels.flush()
        self._index.write(np.array(self._waiting, dtype=RECORD).tobytes())
        self._index.flush()
        self._waiting = []


def _boot() -> str:
    """Another one after every start of the machine, where the system tells."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


class Reader:
    """Images from stores, each file mapped once."""

    def __init__(self) -> None:
        self._mapped: dict[str, tuple[int, mmap.mmap]] = {}
        self._compared: dict[int, bytearray] = {}
        """Of each file, by its inode, a bit a record."""

    def __call__(self, kept: Kept) -> Image | None:
        """Nothing where the file is no longer the one that was meant, or was damaged. The image may not be written
        to."""
        size = 3 * kept.height * kept.width
        inode, mapped = self._mapped.get(kept.path, (0, None))
        if mapped is None or inode != kept.inode or len(mapped) < kept.start + size:
            mapped = self._map(kept)
            if mapped is None or len(mapped) < kept.start + size:
                return None
        pixels = np.frombuffer(mapped, dtype=np.uint8, count=size, offset=kept.start)
        if not self._is_sound(kept, pixels):
            return None
        return pixels.reshape(kept.height, kept.width, 3)

    def _is_sound(self, kept: Kept, pixels: Image) -> bool:
        """Compared once."""
        known = self._compared.setdefault(kept.inode, bytearray())
        place, bit = divmod(kept.number, 8)
        known.extend(bytes(max(0, place + 1 - len(known))))
        if not known[place] >> bit & 1:
            if zlib.crc32(pixels.data) != kept.checksum:
                return False
            known[place] |= 1 << bit
        return True

    def _map(self, kept: Kept) -> mmap.mmap | None:
        try:
            with Path(kept.path).open("rb") as opened:
                if os.fstat(opened.fileno()).st_ino != kept.inode:
                    return None
                mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return None
        self._mapped[kept.path] = (kept.inode, mapped)
        return mapped
