"""What is known of each image's file: the digest of its content, and whether it is a whole image.

Both are found by reading every file, and remembered for as long as a file's size and times stay what they are.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from podium.data.image_paths import ImagePaths, text_of
from podium.data.images import Frame, Image, framed_from, read_file
from podium.data.jpeg import JPEG
from podium.data.table import CompetitionRows, paths_of, without
from podium.errors import DataError
from podium.files import atomic_write
from podium.paths import cache_folder, worker_count

Item = TypeVar("Item")
Result = TypeVar("Result")
Digests = NDArray[np.bytes_]
"""Sixteen bytes an image."""

_ENDINGS = {JPEG: b"\xff\xd9", b"\x89PNG": b"IEND"}
"""How a format begins, and what a whole file of it holds: some versions of OpenCV fill what is cut off with grey."""
_KNOWN = np.dtype([("file", "S16"), ("content", "S16"), ("is_whole", "?")])
_AT_ONCE = 4_096
"""Rows that are looked up together: what that takes is gone before the next ones."""
_A_TASK = 8
"""Files that a thread reads before it looks for more."""
_MANY = 2_000
"""Files that take long enough to read for their progress to be shown."""


@dataclass(frozen=True)
class Catalogue:
    contents: Digests
    are_whole: NDArray[np.bool_]

    @property
    def digest(self) -> str:
        """Changes when a byte of an image does."""
        return hashlib.sha256(self.contents.tobytes()).hexdigest()[:16]


class Keeper(Protocol):
    """Keeps images while they are read anyway."""

    def wants(self, content: bytes) -> list[Frame]:
        """In which frames it would keep the image of this digest. Asked by several threads."""

    def keep(self, content: bytes, framed: Iterable[tuple[Frame, Image]]) -> None: ...


def catalogue(
    paths: Sequence[Path], name: str = "images", console: Console | None = None, keeper: Keeper | None = None
) -> Catalogue:
    """Of these images, in their order. Only files that are new, or changed, are read; what is known of the others is
    remembered under the name."""
    found = np.empty(len(paths), dtype=_KNOWN)
    found["file"] = np.fromiter((_digest_of_facts(text) for text in _texts(paths)), dtype="S16", count=len(paths))
    memory = cache_folder() / "catalogue" / f"{name}.npy"
    known = _remembered(memory)
    is_known = np.zeros(len(paths), dtype=bool)
    for start in range(0, len(paths) if len(known) else 0, _AT_ONCE):
        some, are_known = found[start : start + _AT_ONCE], is_known[start : start + _AT_ONCE]
        position = np.searchsorted(known["file"], some["file"])
        position[position == len(known)] = 0
        are_known[:] = known["file"][position] == some["file"]
        some[are_known] = known[position[are_known]]
    # What was no whole image is looked at again: a person is told to replace it, and a memory may be damaged.
    new = np.flatnonzero(~(is_known & found["is_whole"]))
    if len(new):
        read = in_parallel(lambda row: _read(text_of(paths, row), keeper), new.tolist(), "reading images", console)
        for row, (content, is_whole, framed) in zip(new, read, strict=True):
            found["content"][row], found["is_whole"][row] = content, is_whole
            if keeper and framed:
                keeper.keep(content, framed)
        _remember(memory, known, found[new])
    return Catalogue(found["content"].copy(), found["is_whole"].copy())


def digests_of(paths: Sequence[Path], name: str = "images") -> Digests:
    """Of each image's content."""
    return catalogue(paths, name).contents


def unreadable(paths: Sequence[Path], name: str = "images", console: Console | None = None) -> list[Path]:
    """The files that are no whole images."""
    return [paths[row] for row in np.flatnonzero(~catalogue(paths, name, console).are_whole)]


def images_of(rows: CompetitionRows) -> ImagePaths:
    """All of a competition's: of the training rows, the extra ones and the test rows."""
    return paths_of(rows.train, rows.extra, rows.test)


def leave_out_unreadable(
    rows: CompetitionRows, on_bad_image: str, known: Catalogue
) -> tuple[CompetitionRows, set[Path]]:
    """All unreadable images named in one error; or, with `skip`, the rows without them and which they were.

    `known` is the catalogue of all images of the rows.
    """
    paths = images_of(rows)
    bad = [paths[row] for row in np.flatnonzero(~known.are_whole)]
    if bad and on_bad_image == "error":
        raise DataError(
            f"{len(bad)} images cannot be read: {', '.join(map(str, bad))}; replace them, or leave them out with"
            " on_bad_image: skip in the competition file"
        )
    left = without(rows, set(bad)) if bad else rows
    gone = set(rows.train["label"]) - set(left.train["label"])
    if gone:
        raise DataError(f"no readable image is left of the class {', '.join(sorted(gone))}; replace some of them")
    return left, set(bad)


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], what: str, console: Console | None = None
) -> Iterable[Result]:
    """The results in the order of the items, by a thread a core; for work that leaves the interpreter lock alone."""
    with ThreadPoolExecutor(worker_count()) as pool:
        results = _results(work, items, pool)
        if console is not None and len(items) >= _MANY:
            results = track(results, f"  {what}", total=len(items), console=console, transient=True)
        yield from results


def _results(work: Callable[[Item], Result], items: Sequence[Item], pool: ThreadPoolExecutor) -> Iterable[Result]:
    # A task for several items, since handing one over takes as long as hashing a small image; and so many tasks at a
    # time, since a million that wait would each take half a kilobyte.
    for start in range(0, len(items), _MANY):
        parts = [items[at : at + _A_TASK] for at in range(start, min(start + _MANY, len(items)), _A_TASK)]
        for results in pool.map(lambda part: [work(item) for item in part], parts):
            yield from results


def _texts(paths: Sequence[Path]) -> Iterable[str]:
    return paths.texts() if isinstance(paths, ImagePaths) else map(str, paths)


def _digest_of_facts(path: str) -> bytes:
    """Changes when the file does: writing to it sets its ctime, which nothing can set back."""
    try:
        facts = os.stat(path)  # noqa: PTH116  # a Path would take most of the time
    except OSError:
        return b"missing"
    times = f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\0{facts.st_ino}"
    return hashlib.blake2b(times.encode(errors="surrogateescape"), digest_size=16).digest()


def _remembered(memory: Path) -> NDArray[np.void]:
    """Sorted by file. A damaged memory is none."""
    try:
        with memory.open("rb") as opened:
            known = np.load(opened)
    except Exception:  # NumPy's own, tokenize's and zipfile's: by whatever byte was damaged
        return np.empty(0, dtype=_KNOWN)
    return known if known.dtype == _KNOWN else np.empty(0, dtype=_KNOWN)


def _remember(memory: Path, known: NDArray[np.void], new: NDArray[np.void]) -> None:
    together = np.concatenate([new[new["file"] != b"missing"], known])
    _, first = np.unique(together["file"], return_index=True)
    with suppress(OSError), atomic_write(memory, fsync=False) as temporary, temporary.open("wb") as opened:
        np.save(opened, together[first])


def _read(path: str, keeper: Keeper | None) -> tuple[bytes, bool, list[tuple[Frame, Image]]]:
    """Digest, whether it is whole, and the image in the frames that are wanted of it."""
    try:
        encoded = read_file(path)
    except DataError:
        return b"", False, []
    content = encoded.tobytes()
    digest = hashlib.sha256(content).digest()[:16]
    frames = keeper.wants(digest) if keeper else []
    try:
        framed = list(zip(frames, framed_from(path, encoded, frames), strict=True))
    except (DataError, cv2.error):
        return digest, False, []
    whole = _has_its_end(content) and (bool(framed) or _can_be_decoded(encoded))
    return digest, whole, framed if whole else []


def is_whole(content: bytes) -> bool:
    """Whether these are the bytes of a whole image."""
    return _has_its_end(content) and _can_be_decoded(np.frombuffer(content, dtype=np.uint8))


def _has_its_end(content: bytes) -> bool:
    return all(not content.startswith(start) or end in content for start, end in _ENDINGS.items())


def _can_be_decoded(content: Image) -> bool:
    # An eighth of a JPEG's size is decoded several times as fast, and fails on the same files.
    size = cv2.IMREAD_REDUCED_COLOR_8 if content[:2].tobytes() == JPEG else cv2.IMREAD_COLOR
    try:
        return bool(content.size) and cv2.imdecode(content, size) is not None
    except cv2.error:
        return False
