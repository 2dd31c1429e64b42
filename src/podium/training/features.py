"""What a frozen backbone makes of images: computed once, kept within the cache's bound, and read a batch at a time.

    features/<digest>/           an entry of the cache; the digest is that of all that decides the features in it
      view-0.npy view-1.npy …    of the training rows, as the epochs 0, 1, … of any other stage would show them
      validation.npy
      made.json                  how long an image took

A file has its name only once it is whole and on the disk. One process at a time makes what is missing of an entry, and
another that needs it waits. Reading needs no lock, and goes on where the entry is dropped meanwhile.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from podium.data.batches import EpochBatches, OneHot, PredictionBatches, TrainingBatches
from podium.data.cache import GB, entry_of, make_room, mark_used
from podium.errors import RunError
from podium.files import atomic_write, read_json, write_json
from podium.locks import lock_holder, locked
from podium.models.feed import as_dataset
from podium.models.predictor import Predictor
from podium.progress import format_seconds
from podium.training.callbacks import bar_on
from podium.training.session import SPARE_SECONDS
from podium.training.task import StageContext

FORMAT = 2
"""Of what is kept. Raised where podium would make other features of the same images and weights."""
A_LOOK = 0.5
"""Seconds between two looks whether another process is done."""
_MADE = "made.json"


@dataclass(frozen=True)
class Wanted:
    """The features of some images, in one file."""

    file: str
    told: str
    rows: int
    images: Callable[[], PredictionBatches]
    """Asked for only where they have to be made."""


class Features:
    """Features by their rows, in a file that is mapped and never read whole."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        """ValueError where the file is another's, or damaged."""
        self._mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        self._are_bfloat16 = dtype == "bfloat16"
        if (self._mapped.shape, self._mapped.dtype) != (shape, np.dtype(_kept_as(dtype))):
            raise ValueError(f"{path} holds {self._mapped.dtype} of shape {self._mapped.shape}")

    def __len__(self) -> int:
        return len(self._mapped)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        some = np.array(self._mapped[rows])
        return (some.astype(np.uint32) << 16).view(np.float32) if self._are_bfloat16 else some


def _kept_as(dtype: str) -> str:
    """NumPy knows no bfloat16; its bits are the upper half of a float32's."""
    return "uint16" if dtype == "bfloat16" else dtype


class FeatureBatches(EpochBatches):
    """Features with their targets; the epochs take turns with the views."""

    def __init__(self, views: Sequence[Features], targets: OneHot, batch_size: int, seed: Sequence[int]) -> None:
        super().__init__(len(targets), batch_size, seed)
        self._views, self._targets = views, targets

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        return self._views[epoch % len(self._views)][rows], self._targets[rows]


class ViewBatches(EpochBatches):
    """The images of so many views in turns, where their features are not kept."""

    def __init__(self, images: TrainingBatches, rows: int, batch_size: int, views: int) -> None:
        super().__init__(rows, batch_size, images.seed)
        self._images, self._views = images, views

    def batch(self, rows: NDArray[np.int64], epoch: int) -> Any:
        return self._images.batch(rows, epoch % self._views)


class FeaturesInOrder:
    """Features in the order of their rows, to be predicted."""

    epoch = 0

    def __init__(self, features: Features, batch_size: int) -> None:
        self._features, self._batch_size = features, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self._features) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any]]:
        return (self._features[index * self._batch_size : (index + 1) * self._batch_size],)


@dataclass(frozen=True)
class Kept:
    files: dict[str, Features]
    seconds_per_image: float
    """What making them took."""


def digest_of_features(decides: dict[str, Any], images: Sequence[bytes], weights: Sequence[Any]) -> str:
    """The name of an entry."""
    digest = hashlib.sha256(json.dumps({"format": FORMAT, **decides}, sort_keys=True).encode())
    for content in images:
        digest.update(content)
    for weight in weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:24]


def kept_features(name: str, wanted: Sequence[Wanted], model: Any, cache_gb: float, watch: StageContext) -> Kept | None:
    """What this model makes of the images: kept before, or made now. None, and why is told, where there is no room.

    Only for `wanted` that are the entry's whole content: one that lacks a file is made up.
    """
    entry = _Entry(entry_of("features", name), wanted, model)
    try:
        if cache_gb == 0:
            raise _NotKeptError("cache_gb is 0")
        kept = entry.opened()
        if kept is None:
            with _held(entry.path, watch):
                kept = entry.opened() or _made(entry, cache_gb, watch)
        else:
            watch.console.print(f"  features of {_spell(wanted)}: kept from before", highlight=False)
    except (_NotKeptError, OSError) as error:
        watch.console.print(
            f"  features of {_spell(wanted)} are not kept ({error}): every epoch computes them anew", highlight=False
        )
        return None
    mark_used(entry.path)
    return kept


class _NotKeptError(Exception):
    """Why features cannot be kept."""


class _Entry:
    def __init__(self, path: Path, wanted: Sequence[Wanted], model: Any) -> None:
        self.path, self.wanted, self.model = path, wanted, model
        self.shape, self.dtype = model.output_shape[1:], model.outputs[0].dtype

    def open(self, one: Wanted) -> Features | None:
        """Nothing where the file is not there, or damaged."""
        try:
            return Features(self.path / one.file, (one.rows, *self.shape), self.dtype)
        except (OSError, ValueError, EOFError):
            return None

    def opened(self) -> Kept | None:
        """All of it, or nothing."""
        files = {one.file: features for one in self.wanted if (features := self.open(one)) is not None}
        return Kept(files, self._seconds_a_image()) if len(files) == len(self.wanted) else None

    def bytes_of(self, some: Sequence[Wanted]) -> int:
        a_row = int(np.prod(self.shape)) * np.dtype(_kept_as(self.dtype)).itemsize
        return sum(one.rows for one in some) * a_row + 128 * len(some)

    def _seconds_a_image(self) -> float:
        try:
            return float(read_json(self.path / _MADE).get("seconds_per_image", 0.0))
        except (RunError, TypeError, ValueError):  # damaged: it only tells how long predicting may take
            return 0.0


@contextmanager
def _held(entry: Path, watch: StageContext) -> Iterator[None]:
    """No other process makes this entry meanwhile; one that does is waited for."""
    with ExitStack() as stack:
        is_told = False
        while True:
            try:
                stack.enter_context(locked(entry))
                break
            except RunError:
                if not is_told:
                    maker = lock_holder(entry) or "another process"
                    watch.console.print(f"  waiting for the same features, made by {maker}", highlight=False)
                is_told = True
                watch.stop_if_asked(0.0)
                time.sleep(A_LOOK)
        yield


def _made(entry: _Entry, cache_gb: float, watch: StageContext) -> Kept:
    """Make what is missing, within the block that holds the entry."""
    entry.path.mkdir(parents=True, exist_ok=True)
    for left in entry.path.glob(".writing-*"):  # by a process that was killed
        left.unlink(missing_ok=True)
    missing = [one for one in entry.wanted if entry.open(one) is None]
    needed = entry.bytes_of(missing)
    if not make_room(entry.path, needed, cache_gb):
        raise _NotKeptError(f"there is no room for {needed / GB:.3g} GB within the disk and cache_gb {cache_gb:g}")
    making = _Making(entry, missing, watch)
    with making:
        for one in missing:
            making.make(one)
    kept = entry.opened()
    if kept is None:
        raise _NotKeptError(f"{entry.path} was dropped while they were made")
    return kept


class _Making:
    """Makes features file after file, shows how far it is, and stops between two batches when asked to."""

    def __init__(self, entry: _Entry, missing: Sequence[Wanted], watch: StageContext) -> None:
        self._entry, self._watch = entry, watch
        self._slowest = 0.0
        self._first: tuple[float, int] | None = None  # when the batch that waited for the graph was done, and its size
        self._done, self._all = 0, sum(one.rows for one in missing)
        self._predictor = Predictor(entry.model, self._all)
        self._bar = bar_on(watch.console)
        self._shown = self._bar.add_task("features", total=self._all) if self._bar else None

    def __enter__(self) -> None:
        if self._bar:
            self._bar.start()

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def make(self, one: Wanted) -> None:
        began = time.perf_counter()
        with atomic_write(self._entry.path / one.file) as temporary, temporary.open("wb") as opened:
            size = self._entry.bytes_of([one])
            if hasattr(os, "posix_fallocate"):  # so that a full disk is known now, and others count with it
                os.posix_fallocate(opened.fileno(), 0, size)
            shape = (one.rows, *self._entry.shape)
            header = {"descr": np.dtype(_kept_as(self._entry.dtype)).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(opened, header)  # type: ignore[no-untyped-call]  # NumPy gives it none
            for features in self._batches(one.images()):
                opened.write(features.tobytes())
            opened.truncate()
        a_image = self._seconds_a_image(began)
        write_json(self._entry.path / _MADE, {"seconds_per_image": a_image}, fsync=False)
        left = a_image * (self._all - self._done)
        self._watch.console.print(
            f"  features of {one.told}: {one.rows:,} images  {time.perf_counter() - began:.1f} s"
            + (f", {format_seconds(left)} left" if left >= 1 else ""),
            highlight=False,
        )

    def _seconds_a_image(self, began: float) -> float:
        since, before = self._first or (began, 0)
        if self._done == before:  # there was no other batch
            since, before = began, 0
        return (time.perf_counter() - since) / (self._done - before)

    def _batches(self, images: PredictionBatches) -> Iterator[NDArray[Any]]:
        with as_dataset(images) as feed:
            began = time.perf_counter()
            for features in self._predictor.one_by_one(feed):
                yield features.view(_kept_as(self._entry.dtype))
                self._slowest = max(self._slowest, time.perf_counter() - began)
                self._done += len(features)
                self._first = self._first or (time.perf_counter(), self._done)
                if self._bar and self._shown is not None:
                    self._bar.advance(self._shown, len(features))
                self._watch.stop_if_asked(self._slowest + SPARE_SECONDS)
                began = time.perf_counter()


def _spell(wanted: Sequence[Wanted]) -> str:
    return " and ".join(one.told for one in wanted) if len(wanted) < 3 else f"{wanted[0].told} to {wanted[-1].told}"
