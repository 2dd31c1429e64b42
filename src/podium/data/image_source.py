"""Images by their rows: from the store where they are kept, else from their files; the same either way."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from podium.data.cache import available, entry_of, make_room, mark_used
from podium.data.catalogue import Catalogue, Digests, catalogue, digests_of, in_parallel
from podium.data.image_paths import text_of
from podium.data.images import DECODING, Frame, Image, read_framed
from podium.data.store import Kept, Places, Reader, Store, Writer
from podium.errors import DataError
from podium.paths import cache_folder

WIDEST = {"squash": 1.0, "crop": 2.0, "pad": 1.0}
"""About how many squares an image takes in a frame, at the most."""
A_LOOK_AT_THE_DISK = 500
"""Images between two looks whether others have to go from the cache."""
TOLD_FROM = 2_000
"""Images that take long enough to keep for people to be told."""


@dataclass(frozen=True)
class Cache:
    """Where images are kept, and how much of the disk they may take."""

    name: str
    gigabytes: float
    console: Console | None = None


@dataclass(frozen=True)
class Source:
    """Where one image is to be had, in each of several frames."""

    path: str
    kept: tuple[Kept | None, ...]


class Supply:
    def __init__(self, paths: Sequence[Path], cache: Cache | None = None) -> None:
        self._paths = paths
        self._cache = cache if cache and cache.gigabytes > 0 else None
        self._places: dict[Frame, Places] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def keep(self, frames: Iterable[Frame]) -> None:
        """Decode all images that are not kept in these frames yet, and keep them, as far as there is room.

        Those that cannot be read are passed over.
        """
        wanted = sorted({frame for frame in frames if frame not in self._places}, key=str)
        if self._cache is None or not wanted or not len(self._paths):
            return
        try:
            with keeping(wanted, self._cache) as keeper:
                known = catalogue(self._paths, self._cache.name, self._cache.console, keeper)
                _fill(keeper, self._paths, known, self._cache.console)
        except OSError as error:
            _done_without(self._cache, error)
            return
        keeper.tell(self._cache.console)
        self._places |= {frame: store.places(known.contents) for frame, store in keeper.stores.items()}

    def contents(self) -> Digests:
        """A digest of each image's file."""
        return digests_of(self._paths, self._cache.name if self._cache else "images")

    def source(self, row: int, frames: Sequence[Frame]) -> Source:
        kept = tuple(places.of(row) if (places := self._places.get(frame)) else None for frame in frames)
        return Source(text_of(self._paths, row), kept)


def read_and_keep(paths: Sequence[Path], frames: Iterable[Frame], cache: Cache) -> None:
    """Look at all files that are new, and keep these images while they are read anyway."""
    wanted = sorted(frames, key=str)
    if cache.gigabytes > 0 and wanted and len(paths):
        try:
            with keeping(wanted, cache) as keeper:
                catalogue(paths, cache.name, cache.console, keeper)
        except OSError as error:
            _done_without(cache, error)
            return
        keeper.tell(cache.console)


def _done_without(cache: Cache, error: OSError) -> None:
    """A folder that cannot be written to, for one: slower, and nothing else."""
    if cache.console is not None:
        cache.console.print(
            f"  images are not kept in {cache_folder()} ({error.strerror or error}): each is decoded whenever it is"
            " needed; PODIUM_CACHE names another folder",
            highlight=False,
        )


class StoreKeeper:
    """Keeps images in a store for each frame, as long as there is room."""

    def __init__(self, stores: dict[Frame, Store], cache: Cache) -> None:
        self.stores, self._cache = stores, cache
        self._lock = threading.Lock()
        self._known = {frame: Known(store.contents()) for frame, store in stores.items()}
        self._room = {frame: available(store.entry, cache.gigabytes) for frame, store in stores.items()}
        self._writers: dict[Frame, Writer] = {}
        self._began = time.perf_counter()
        self._files, self._kept, self._is_full = 0, 0, False

    def wants(self, content: bytes) -> list[Frame]:
        if self._is_full:
            return []
        with self._lock:
            return [
                frame for frame, known in self._known.items() if content not in known and self._takes(frame, content)
            ]

    def _takes(self, frame: Frame, content: bytes) -> bool:
        """Whether there is room; then it counts as kept. Rooms are shared by the frames, as the disk is."""
        size = int(3 * WIDEST[frame.resize] * frame.size**2)
        if self._room[frame] < size:
            return False
        self._room = {other: room - size for other, room in self._room.items()}
        self._known[frame].add(content)
        return True

    def keep(self, content: bytes, framed: Iterable[tuple[Frame, Image]]) -> None:
        before = self._kept
        for frame, image in framed:
            if frame not in self._writers:
                self._writers[frame] = self.stores[frame].writer()
            if self._kept % A_LOOK_AT_THE_DISK == 0 and not self._has_room(frame, image.nbytes):
                self._is_full = True
            if self._is_full:
                break
            try:
                self._writers[frame].add(content, image)
                self._kept += 1
            except OSError:  # something else has filled the disk: what is not kept is decoded again
                self._is_full = True
        self._files += self._kept > before

    def _has_room(self, frame: Frame, size: int) -> bool:
        """For the images until the next look, others being dropped, or for as many as there can be."""
        entry, bound = self.stores[frame].entry, self._cache.gigabytes
        room = min(A_LOOK_AT_THE_DISK * size, available(entry, bound))
        return room >= size and make_room(entry, room, bound)

    def close(self) -> None:
        for writer in self._writers.values():
            with suppress(OSError):  # a full disk
                writer.close()

    @property
    def has_kept(self) -> bool:
        return self._kept > 0

    def tell(self, console: Console | None) -> None:
        if console is not None and self._files >= TOLD_FROM:
            sizes = " and ".join(str(frame.size) for frame in self.stores)
            console.print(
                f"  kept {self._files:,} images decoded to {sizes} px, in {time.perf_counter() - self._began:.1f} s",
                highlight=False,
            )


def store_of(name: str, frame: Frame) -> Path:
    """Where a competition's images in this frame are kept, as this version of podium makes them."""
    return entry_of("images", f"{name}-{frame}-v{DECODING}")


@contextmanager
def keeping(frames: Iterable[Frame], cache: Cache) -> Iterator[StoreKeeper]:
    """Stores for these frames, which no other process writes meanwhile."""
    stores = {frame: Store(store_of(cache.name, frame)) for frame in frames}
    with ExitStack() as held:
        for store in stores.values():
            held.enter_context(store.writing())
            mark_used(store.entry)
        keeper = StoreKeeper(stores, cache)
        held.callback(keeper.close)
        yield keeper
    if keeper.has_kept:  # the disk takes its time; a process that ends before has kept all but from a power cut
        for store in stores.values():
            threading.Thread(target=store.sync, daemon=True).start()


def _fill(keeper: StoreKeeper, paths: Sequence[Path], known: Catalogue, console: Console | None) -> None:
    """What was read before, but is not kept in these frames."""
    missing = {frame: store.places(known.contents) for frame, store in keeper.stores.items()}
    rows = np.unique(np.concatenate([places.missing for places in missing.values()]))

    def framed(row: int) -> tuple[bytes, list[tuple[Frame, Image]]]:
        content = bytes(known.contents[row])
        frames = keeper.wants(content)
        try:
            return content, list(zip(frames, read_framed(text_of(paths, row), frames) if frames else [], strict=True))
        except DataError:  # gone or spoilt since it was looked at: told where it is needed
            return content, []

    for content, images in in_parallel(framed, rows[known.are_whole[rows]].tolist(), "decoding images", console):
        keeper.keep(content, images)


class Known:
    """Which digests there are: those of a store, and those added since."""

    def __init__(self, contents: Digests) -> None:
        self._sorted, self._added = np.sort(contents), set[bytes]()

    def __contains__(self, content: bytes) -> bool:
        content = content.rstrip(b"\0")  # as NumPy has them
        found = int(np.searchsorted(self._sorted, np.bytes_(content)))
        return content in self._added or (found < len(self._sorted) and bytes(self._sorted[found]) == content)

    def add(self, content: bytes) -> None:
        self._added.add(content.rstrip(b"\0"))


class Loader:
    """Images from their sources, in one thread."""

    def __init__(self) -> None:
        self._read = Reader()

    def __call__(self, source: Source, frames: Sequence[Frame]) -> Iterator[Image]:
        """In each of the frames. What is not kept is read from the file, once for all frames."""
        kept = [self._read(place) if place else None for place in source.kept]
        absent = [frame for frame, image in zip(frames, kept, strict=True) if image is None]
        read = iter(read_framed(source.path, absent) if absent else ())
        for image in kept:
            yield next(read) if image is None else image
