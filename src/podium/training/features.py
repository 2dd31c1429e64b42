"""Features of images from a frozen backbone: computed once, cached on disk within the cache's limit, read in batches.

    features/<digest>/           a cache entry; the digest covers everything that affects its features
      view-0.npy view-1.npy …    of the training rows, augmented as in epochs 0, 1, … of an ordinary stage
      validation.npy
      timing.json                seconds per image

A file is written to a temporary name and renamed. Only one process at a time writes to an entry.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from podium.data.batches import EpochBatches, PredictionBatches, TrainingBatches, with_metadata
from podium.data.cache import GB, entry_of, make_room, mark_used
from podium.data.target import Encoded
from podium.errors import RunError
from podium.files import atomic_write, read_json, write_json
from podium.locks import lock_holder, wait_for_lock
from podium.models.feed import as_dataset
from podium.models.predictor import Predictor
from podium.progress import Advance, format_seconds, progress_bar
from podium.training.session import SPARE_SECONDS
from podium.training.task import StageContext

FORMAT = 3
"""The version of the cached files. Increase it when the same images and weights give different features."""
TIMING = "timing.json"


@dataclass(frozen=True)
class FeatureFile:
    """The features of some images, in one file."""

    name: str
    description: str
    rows: int
    images: Callable[[], PredictionBatches]
    """Called only if the features have to be computed."""


@dataclass(frozen=True)
class CachedFeatures:
    files: dict[str, "Features"]
    seconds_per_image: float
    """Measured while they were computed."""


class Features:
    """Features by row, from a memory-mapped file."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        """Raises ValueError if the file has another shape or type, or is damaged."""
        self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        self._is_bfloat16 = dtype == "bfloat16"
        if (self._array.shape, self._array.dtype) != (shape, np.dtype(_stored_dtype(dtype))):
            raise ValueError(f"{path} contains {self._array.dtype} of shape {self._array.shape}")

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        array = np.array(self._array[rows])
        return (array.astype(np.uint32) << 16).view(np.float32) if self._is_bfloat16 else array


def _stored_dtype(dtype: str) -> str:
    """NumPy has no bfloat16; its bits are the upper half of a float32's."""
    return "uint16" if dtype == "bfloat16" else dtype


# Batches


class FeatureBatches(EpochBatches):
    """Features, and the metadata of their rows if there is any, with their targets; epochs cycle through the views."""

    def __init__(
        self,
        views: Sequence[Features],
        targets: Encoded,
        metadata: NDArray[np.float32] | None,
        batch_size: int,
        seed: Sequence[int],
    ) -> None:
        super().__init__(len(targets), batch_size, seed)
        self._views, self._targets, self._metadata = views, targets, metadata

    def batch(self, rows: NDArray[np.int64], epoch: int) -> tuple[Any, NDArray[np.float32]]:
        rows = rows % self._rows
        features = self._views[epoch % len(self._views)][rows]
        return with_metadata(features, self._metadata, rows), self._targets[rows]


class ViewBatches(EpochBatches):
    """Images with their targets; epochs cycle through the views. Used if features cannot be cached."""

    def __init__(self, images: TrainingBatches, rows: int, batch_size: int, views: int) -> None:
        super().__init__(rows, batch_size, images.seed)
        self._images, self._views = images, views

    def batch(self, rows: NDArray[np.int64], epoch: int) -> Any:
        return self._images.batch(rows % self._rows, epoch % self._views)  # as FeatureBatches


class FeaturePredictionBatches:
    """Features in the order of their rows, for prediction."""

    epoch = 0

    def __init__(self, features: Features, batch_size: int, metadata: NDArray[np.float32] | None = None) -> None:
        self._features, self._batch_size, self._metadata = features, batch_size, metadata

    def __len__(self) -> int:
        return math.ceil(len(self._features) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any]:
        rows = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return (with_metadata(self._features[rows], self._metadata, rows),)


# The cache


class _NotCachedError(Exception):
    """Why features cannot be cached."""


def features_digest(decisive: dict[str, Any], images: Sequence[bytes], weights: Sequence[Any]) -> str:
    """The name of a cache entry."""
    digest = hashlib.sha256(json.dumps({"format": FORMAT, **decisive}, sort_keys=True).encode())
    for content in images:
        digest.update(content)
    for weight in weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:24]


def cached_features(
    name: str, files: Sequence[FeatureFile], model: Any, cache_gb: float, context: StageContext
) -> CachedFeatures | None:
    """The features that this model computes of images, from the cache or computed now; None if there is no space."""
    entry = _Entry(entry_of("features", name), files, model, context)
    first, last = files[0].description, files[-1].description
    try:
        if cache_gb == 0:
            raise _NotCachedError("cache_gb is 0")
        cached = entry.load()
        if cached:
            context.console.print(f"  features of {first} to {last}: cached", highlight=False)
        else:
            if holder := lock_holder(entry.folder):
                context.console.print(f"  waiting for the same features from {holder}", highlight=False)
            with wait_for_lock(entry.folder):
                cached = entry.load() or entry.compute(cache_gb)
    except (_NotCachedError, OSError) as error:
        context.console.print(
            f"  features of {first} to {last} are not cached ({error}): every epoch computes them again",
            highlight=False,
        )
        return None
    mark_used(entry.folder)
    return cached


class _Entry:
    def __init__(self, folder: Path, files: Sequence[FeatureFile], model: Any, context: StageContext) -> None:
        self.folder, self._files, self._model, self._context = folder, files, model, context
        self._shape, self._dtype = model.output_shape[1:], model.outputs[0].dtype

    def load(self) -> CachedFeatures | None:
        """The entry, or None if any file is missing or damaged."""
        features = {file.name: self._open(file) for file in self._files}
        complete = {name: opened for name, opened in features.items() if opened is not None}
        try:
            seconds = float(read_json(self.folder / TIMING).get("seconds_per_image", 0.0))
        except (RunError, TypeError, ValueError):  # damaged, and only an estimate
            seconds = 0.0
        return CachedFeatures(complete, seconds) if len(complete) == len(features) else None

    def _open(self, file: FeatureFile) -> Features | None:
        try:
            return Features(self.folder / file.name, (file.rows, *self._shape), self._dtype)
        except (OSError, ValueError, EOFError):
            return None

    def compute(self, cache_gb: float) -> CachedFeatures:
        """Compute the missing files."""
        for path in self.folder.glob(".writing-*"):  # of a killed process
            path.unlink(missing_ok=True)
        missing = [file for file in self._files if self._open(file) is None]
        rows = sum(file.rows for file in missing)
        size = rows * math.prod(self._shape) * np.dtype(_stored_dtype(self._dtype)).itemsize
        if not make_room(self.folder, size, cache_gb):
            raise _NotCachedError(f"there is no space for {size / GB:.3g} GB on the disk and in cache_gb {cache_gb:g}")
        computation = _Computation(self._model, rows, self._context)
        with progress_bar(self._context.console, "features", rows) as advance:
            for file in missing:
                start = time.perf_counter()
                self._write(file, computation, advance)
                write_json(self.folder / TIMING, {"seconds_per_image": computation.seconds_per_image}, fsync=False)
                left = computation.seconds_per_image * (rows - computation.done)
                self._context.console.print(
                    f"  features of {file.description}: {file.rows:,} images  {time.perf_counter() - start:.1f} s"
                    + (f", {format_seconds(left)} left" if left >= 1 else ""),
                    highlight=False,
                )
        cached = self.load()
        if cached is None:
            raise _NotCachedError(f"{self.folder} was removed while they were computed")
        return cached

    def _write(self, file: FeatureFile, computation: "_Computation", advance: Advance) -> None:
        dtype = _stored_dtype(self._dtype)
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (file.rows, *self._shape)}
        with atomic_write(self.folder / file.name) as temporary, temporary.open("wb") as opened:
            np.lib.format.write_array_header_1_0(opened, header)  # type: ignore[no-untyped-call]  # NumPy has no types
            for features in computation.batches(file.images()):
                opened.write(features.view(dtype).tobytes())
                advance(len(features), None)


class _Computation:
    """Computes features batch by batch, stops when requested, and measures how long an image takes."""

    def __init__(self, model: Any, rows: int, context: StageContext) -> None:
        self._predictor, self._context = Predictor(model, rows), context
        self._slowest_batch = 0.0
        self._start = time.perf_counter()
        self._graph_traced: tuple[float, int] | None = None
        """When the first batch was done, including tracing the graph, and its size."""
        self.done = 0

    @property
    def seconds_per_image(self) -> float:
        start, before = self._graph_traced or (self._start, 0)
        if self.done == before:  # there was no other batch
            start, before = self._start, 0
        return (time.perf_counter() - start) / (self.done - before)

    def batches(self, images: PredictionBatches) -> Iterator[NDArray[Any]]:
        with as_dataset(images) as dataset:
            start = time.perf_counter()
            for features in self._predictor.predict_batches(dataset):
                yield features
                now = time.perf_counter()
                self._slowest_batch = max(self._slowest_batch, now - start)
                self.done += len(features)
                self._graph_traced = self._graph_traced or (now, self.done)
                self._context.stop_if_requested(self._slowest_batch + SPARE_SECONDS)
                start = time.perf_counter()
