"""Build a dataset from a download of Open Images: select boxes, find or download images, rotate them upright."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from rich.console import Console

from podium.data.catalogue import in_parallel, read_catalogue
from podium.detection.building import BuildResult, count_of_empty, finish, seed_of, select_boxes
from podium.detection.config import CORNERS, DetectorSettings, OpenImagesSource
from podium.detection.downloads import Download, FailedImage, download_images
from podium.detection.openimages import (
    UNKNOWN,
    Address,
    KnownImage,
    Progress,
    addresses_of,
    class_of_codes,
    ids_in_random_order,
    read_addresses,
    read_boxes,
    read_class_codes,
    read_images,
)
from podium.detection.orientation import (
    ORIENTATION_OF_ROTATION,
    UPRIGHT,
    read_header,
    rotated_boxes,
    write_rotated,
)
from podium.errors import DataError
from podium.progress import show_progress

ROTATED = "rotated"
"""The folder for rotated images in the dataset's folder."""
_SHOW_PROGRESS_FROM = 50_000_000
"""Bytes of a file."""
_NOT_IN_TABLE = KnownImage()


@dataclass(frozen=True)
class BuildContext:
    settings: DetectorSettings
    source: OpenImagesSource
    data: Path
    folder: Path
    """The dataset's."""
    console: Console
    stop_if_requested: Callable[[], None]
    """Called often; raises to stop."""

    @contextmanager
    def reading(self, paths: Sequence[Path], what: str) -> Iterator[Progress]:
        """Yields a function to call with the bytes read, shown as progress if these files are large."""
        size = sum(path.stat().st_size for path in paths if path.is_file())
        if size < _SHOW_PROGRESS_FROM:
            yield lambda done: self.stop_if_requested()
            return
        with show_progress(self.console, what, size) as show:
            yield self._stopping(show)

    def _stopping(self, show: Progress) -> Progress:
        def report(done: int) -> None:
            self.stop_if_requested()
            show(done)

        return report

    def download(self, downloads: Sequence[Download], at_once: int) -> list[FailedImage]:
        if not downloads:
            return []
        count = len(downloads)
        with show_progress(self.console, "downloading images", count, lambda done: f"{done:,} images") as show:
            return list(download_images(downloads, at_once, self._stopping(show)))


@dataclass(frozen=True)
class Selection:
    """The selected boxes, and the rows of the image table for their images and the empty images."""

    boxes: pd.DataFrame
    excluded: dict[str, int]
    without_boxes: int
    empty: list[str]
    known: dict[str, KnownImage]

    @property
    def ids(self) -> list[str]:
        return [*self.boxes["id"].unique(), *self.empty]


def build_from_open_images(context: BuildContext) -> BuildResult:
    selection = select(context)
    files, failed = _image_files(context, selection)
    boxes = selection.boxes[selection.boxes["id"].isin(files)]
    if boxes.empty:
        first = f" (first: {failed[0].id}: {failed[0].reason})" if failed else ""
        places = ", ".join(context.source.images)
        raise DataError(f"none of the {len(selection.ids):,} images is available in {context.data}/{places}{first}")
    images, boxes = _upright(context, selection, files, boxes)
    empty = {image_id for image_id in selection.empty if image_id in files}
    result = finish(context.settings, list(context.settings.classes), images, boxes, selection.excluded, empty)
    return replace(result, without_boxes=result.without_boxes + selection.without_boxes, failed=failed)


def select(context: BuildContext) -> Selection:
    """Select boxes from the tables. Image files are only searched to choose empty images without downloads."""
    source, data, settings = context.source, context.data, context.settings
    class_of = class_of_codes(settings.classes, read_class_codes(data / source.classes), data / source.classes)
    with context.reading([data / source.boxes], "reading boxes") as progress:
        found, rows = read_boxes(data / source.boxes, class_of, progress)
    if found.empty:
        names = ", ".join(name for names in settings.classes.values() for name in names)
        raise DataError(
            f"{data / source.boxes} has no box of {names} in {rows:,} rows; check that it is the right subset"
        )
    boxes, excluded = select_boxes(found, settings.keep)
    ids, all_ids = set(boxes["id"]), set(found["id"])
    empty = _choose_empty(context, len(ids), all_ids)
    known = {}
    if source.image_table is not None:
        with context.reading([data / source.image_table], "reading images") as progress:
            known = read_images(data / source.image_table, ids | set(empty), progress)
    return Selection(boxes.reset_index(drop=True), excluded, len(all_ids) - len(ids), empty, known)


def _choose_empty(context: BuildContext, with_boxes: int, annotated: Collection[str]) -> list[str]:
    """Images of the table without boxes of the classes; only existing ones if nothing is downloaded."""
    source, data = context.source, context.data
    count = count_of_empty(context.settings, with_boxes, default=0)
    if not count or source.image_table is None:
        return []
    order = ids_in_random_order(data / source.image_table, seed_of(context.settings), annotated)
    if source.fetch is None:
        patterns = expand_patterns(source.images, data)
        order = (
            image_id
            for image_id in order
            if any((data / pattern.format(id=image_id)).is_file() for pattern in patterns)
        )
    return list(islice(order, count))


def listed_addresses(context: BuildContext, known: dict[str, KnownImage]) -> dict[str, Address]:
    paths = [context.data / name for name in context.source.urls]
    with context.reading(paths, "reading lists of URLs") as progress:
        return read_addresses(paths, known, progress)


# Image files


def expand_patterns(patterns: Sequence[str], data: Path) -> list[str]:
    """The patterns with every `*` in a folder replaced by the existing folders."""
    found = []
    for pattern in patterns:
        folder, name = PurePosixPath(pattern).parent, PurePosixPath(pattern).name
        if "*" not in str(folder):
            found.append(pattern)
            continue
        folders = sorted(path for path in data.glob(str(folder)) if path.is_dir())
        found += [(path.relative_to(data) / name).as_posix() for path in folders]
    return found


def find_images(ids: Collection[str], patterns: Sequence[str], data: Path) -> dict[str, str]:
    """The first existing file of each image, relative to the data folder. Each folder is listed once."""
    found: dict[str, str] = {}
    for pattern in map(PurePosixPath, patterns):
        before, _, after = pattern.name.partition("{id}")
        try:
            names = os.listdir(data / pattern.parent)  # noqa: PTH208  # no Path for each of a million images
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            image_id = name[len(before) : len(name) - len(after)]
            if image_id in ids and name == f"{before}{image_id}{after}":
                found.setdefault(image_id, str(pattern.parent / name))
    return found


def _image_files(context: BuildContext, selection: Selection) -> tuple[dict[str, str], list[FailedImage]]:
    """The file of each image, relative to the data folder, after downloading missing ones; and the failed images."""
    source, data = context.source, context.data
    ids = set(selection.ids)
    files = find_images(ids, expand_patterns(source.images, data), data)
    existing = sorted(files)
    paths = [data / files[image_id] for image_id in existing]
    are_complete = read_catalogue(paths, f"boxes-{context.settings.slug}", context.console).readable
    incomplete = {
        image_id: files.pop(image_id)
        for image_id, is_complete in zip(existing, are_complete, strict=True)
        if not is_complete
    }
    context.stop_if_requested()
    missing = sorted(ids - set(files))
    if source.fetch is None:
        places = ", ".join(source.images)
        return files, [
            FailedImage(image_id, "", "not a complete image" if image_id in incomplete else f"not in {places}")
            for image_id in missing
        ]
    known = {image_id: selection.known.get(image_id, _NOT_IN_TABLE) for image_id in missing}
    listed = listed_addresses(context, known) if missing else {}
    downloads = [
        Download(
            image_id,
            data / incomplete.get(image_id, source.images[0].format(id=image_id)),
            addresses_of(image_id, known[image_id], listed.get(image_id), source.fetch.addresses),
        )
        for image_id in missing
    ]
    failed = context.download(downloads, source.fetch.at_once)
    failed_ids = {image.id for image in failed}
    files |= {image.id: image.path.relative_to(data).as_posix() for image in downloads if image.id not in failed_ids}
    return files, failed


# Orientation


def _upright(
    context: BuildContext, selection: Selection, files: dict[str, str], boxes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of images, still without a split, and of boxes in pixels of the upright images."""
    ids = sorted(files)
    rows, orientations = [], {}
    results = in_parallel(
        lambda image_id: _upright_image(context, image_id, files[image_id], selection.known),
        ids, "reading image sizes", context.console,
    )  # fmt: skip
    for image_id, (file, width, height, orientation, is_rotated) in zip(ids, results, strict=True):
        context.stop_if_requested()
        rows.append((image_id, file, width, height, is_rotated))
        orientations[image_id] = orientation
    images = pd.DataFrame(rows, columns=["id", "file", "width", "height", "rotated"])
    corners = boxes[list(CORNERS)].to_numpy()
    of_box = boxes["id"].map(orientations).to_numpy()
    for orientation in np.unique(of_box[of_box != UPRIGHT]):
        corners[of_box == orientation] = rotated_boxes(corners[of_box == orientation], int(orientation))
    sizes = images.set_index("id")[["width", "height"]].loc[boxes["id"]].to_numpy(dtype=np.float64)
    corners = corners * np.concatenate([sizes, sizes], axis=1)
    columns = dict(zip(CORNERS, corners.T, strict=True))
    return images.assign(split=""), boxes.assign(**columns, **{"class": boxes["class"].astype(object)})


def _upright_image(
    context: BuildContext, image_id: str, file: str, known: dict[str, KnownImage]
) -> tuple[str, int, int, int, bool]:
    """File, width and height of the upright image, the orientation of its stored pixels, and whether it was rotated.

    An image that is only rotated by its EXIF tag is written rotated too, as not every reader applies the tag.
    """
    stored = read_header(context.data / file)
    rotation = known.get(image_id, _NOT_IN_TABLE).rotation
    orientation = stored.orientation if rotation == UNKNOWN else ORIENTATION_OF_ROTATION[rotation]
    if orientation == stored.orientation == UPRIGHT:
        return file, stored.width, stored.height, orientation, False
    rotated_file = f"{ROTATED}/{image_id}.png"
    write_rotated(context.data / file, orientation, context.folder / rotated_file)
    return rotated_file, *stored.upright_size(orientation), orientation, True
