"""Build a dataset as a detector file describes it: read, select, clean and split."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from podium.config.problems import nearest
from podium.data.catalogue import read_catalogue
from podium.detection.cleaning import CleaningCounts, clean_boxes
from podium.detection.coco import read_coco
from podium.detection.config import SPLITS, DetectorSettings, FolderSource, Keep, SourceSplit
from podium.detection.dataset import BOX_COLUMNS, BoxDataset
from podium.detection.downloads import FailedImage
from podium.detection.formats import check_sizes
from podium.detection.voc import read_voc
from podium.detection.yolo import read_yolo
from podium.errors import DataError


@dataclass(frozen=True)
class BuildResult:
    dataset: BoxDataset
    excluded: dict[str, int]
    """Boxes left out because of a flag, by flag."""
    cleaned: CleaningCounts
    without_boxes: int
    """Images left out because none of their boxes was kept."""
    failed: list[FailedImage] = field(default_factory=list)
    """Missing or unreadable images, left out."""


def build_from_folder(settings: DetectorSettings, source: FolderSource, data: Path, console: Console) -> BuildResult:
    """Build from a dataset in another format."""
    found, failed = _with_readable_images(_read(settings, source, data, console), settings, data, console)
    classes = settings.classes or {name: [name] for name in found.classes}
    class_of = _class_of_source_name(classes, found.classes, data / source.folder)
    is_included = found.boxes["class"].isin(list(class_of))
    boxes, excluded = select_boxes(found.boxes[is_included], settings.keep)
    boxes = boxes.assign(**{"class": boxes["class"].map(class_of)})
    is_empty = ~found.images["id"].isin(found.boxes.loc[is_included, "id"])
    empty = _choose_empty(found.images.loc[is_empty, "id"].tolist(), settings, int((~is_empty).sum()))
    images = found.images[~is_empty | found.images["id"].isin(empty)]
    return replace(finish(settings, list(classes), images, boxes, excluded, empty), failed=failed)


def _read(settings: DetectorSettings, source: FolderSource, data: Path, console: Console) -> BoxDataset:
    path = data / source.folder
    if source.kind == "yolo":
        found = read_yolo(path, slug=settings.slug, console=console)
    else:
        found = {"voc": read_voc, "coco": read_coco}[source.kind](path, slug=settings.slug)
    folder = PurePosixPath(source.folder) if path.is_dir() else PurePosixPath(source.folder).parent
    files = found.images["file"].map(lambda file: str(folder / file))
    return replace(found, images=found.images.assign(file=files, rotated=False))


def _with_readable_images(
    found: BoxDataset, settings: DetectorSettings, data: Path, console: Console
) -> tuple[BoxDataset, list[FailedImage]]:
    images = found.images
    paths = [data / file for file in images["file"]]
    is_readable = read_catalogue(paths, f"boxes-{settings.slug}", console).readable
    failed = [
        FailedImage(image_id, "", f"{'not a complete image' if path.is_file() else 'missing'}: {path}")
        for image_id, path, readable in zip(images["id"], paths, is_readable, strict=True)
        if not readable
    ]
    if failed and not is_readable.any():
        raise DataError(f"none of the {len(failed):,} images is available (first: {failed[0].reason})")
    failed_ids = {image.id for image in failed}
    kept = replace(found, images=images[is_readable], boxes=found.boxes[~found.boxes["id"].isin(failed_ids)])
    if settings.source.kind != "yolo":  # for YOLO the sizes were read from the images
        check_sizes(kept, data, data)
    return kept, failed


def _choose_empty(ids: list[str], settings: DetectorSettings, with_boxes: int) -> set[str]:
    count = count_of_empty(settings, with_boxes, default=len(ids))
    return set(sorted(ids, key=lambda image_id: random_rank(seed_of(settings), image_id.encode()))[:count])


def _class_of_source_name(classes: Mapping[str, list[str]], known: list[str], where: Path) -> dict[str, str]:
    for name in (name for names in classes.values() for name in names):
        if name not in known:
            raise DataError(f"{where} has no class {name!r}{nearest(name, known)} (names must match exactly)")
    return {name: class_name for class_name, names in classes.items() for name in names}


def select_boxes(boxes: pd.DataFrame, keep: Keep) -> tuple[pd.DataFrame, dict[str, int]]:
    """The boxes to keep, and how many were excluded by each flag; a box with two flags counts for the first."""
    is_kept, excluded = np.ones(len(boxes), dtype=bool), {}
    for flag, keeps in keep:
        if not keeps and flag in boxes:
            matching = is_kept & boxes[flag].to_numpy(dtype=bool)
            excluded[flag] = int(matching.sum())
            is_kept &= ~matching
    return boxes[is_kept], {flag: count for flag, count in excluded.items() if count}


def count_of_empty(settings: DetectorSettings, with_boxes: int, default: int) -> int:
    """The number of images without boxes to include."""
    requested = default if settings.empty_images is None else settings.empty_images
    return requested if isinstance(requested, int) else round(requested * with_boxes)


def seed_of(settings: DetectorSettings) -> int:
    return 0 if isinstance(settings.split, SourceSplit) else settings.split.seed


def random_rank(seed: int, image_id: bytes) -> int:
    """The position of an image in a random order that does not depend on the other images."""
    return int.from_bytes(hashlib.blake2b(b"%d/%s" % (seed, image_id), digest_size=8).digest())


def finish(
    settings: DetectorSettings,
    classes: list[str],
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    excluded: dict[str, int],
    empty: set[str],
) -> BuildResult:
    """Clean and split. Kept are the images that still have boxes, and the `empty` ones."""
    boxes, cleaned = clean_boxes(images, boxes)
    if boxes.empty:
        raise DataError(f"no box of {', '.join(classes)} is left; check classes and keep in the detector file")
    is_kept = images["id"].isin(boxes["id"]) | images["id"].isin(empty)
    without_boxes, images = int((~is_kept).sum()), images[is_kept].reset_index(drop=True)
    if not isinstance(settings.split, SourceSplit):
        shares = (settings.split.train, settings.split.validation, settings.split.test)
        images = images.assign(split=assign_splits(images["id"], settings.split.seed, shares))
    dataset = BoxDataset(settings.slug, classes, images, boxes[list(BOX_COLUMNS)], {"kind": settings.source.kind})
    return BuildResult(dataset, excluded, cleaned, without_boxes)


def assign_splits(ids: Iterable[str], seed: int, shares: Sequence[float]) -> NDArray[np.object_]:
    """The split of each image, for the shares of train, validation and test, which sum to 1.

    It only depends on the seed and the image's id, so it does not change when images are added: the first 52 bits of
    SHA-256 of `<seed>/<id>`, as a fraction of their maximum, are compared with the cumulated shares.
    """
    digits = 13  # hexadecimal: 52 bits, which a float holds exactly
    prefix = hashlib.sha256(f"{seed}/".encode())

    def fraction(image_id: str) -> float:
        digest = prefix.copy()
        digest.update(image_id.encode())
        return int(digest.hexdigest()[:digits], 16) / float(16**digits)

    fractions = np.array([fraction(image_id) for image_id in ids], dtype=np.float64)
    train, validation, test = shares
    # The last share that is not 0 has no upper bound: 0.7 + 0.3 may be slightly less than 1.
    bounds = [train if validation or test else np.inf, train + validation if test else np.inf]
    return np.array(SPLITS, dtype=object)[np.searchsorted(bounds, fractions, side="right")]
