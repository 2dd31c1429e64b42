"""A set of boxes made from what a detector file names: read, chosen, cleaned, split."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from rich.console import Console

from podium.config.problems import nearest
from podium.data.catalogue import read_catalogue
from podium.detection.cleaning import Cleaned, clean_boxes
from podium.detection.config import DetectorSettings, FolderSource, Keep, SourceSplit
from podium.detection.dataset import BOX_COLUMNS, BoxDataset
from podium.detection.downloads import Dead
from podium.detection.formats import check_sizes
from podium.detection.openimages_images import rank
from podium.detection.splitting import splits_of
from podium.errors import DataError


@dataclass(frozen=True)
class Built:
    """A set, and what did not get into it."""

    boxset: BoxDataset
    left_out: dict[str, int]
    """Boxes by the flag that their file says to leave out."""
    cleaned: Cleaned
    bare: int
    """Images that were left with none of their boxes, and left out too."""
    dead: list[Dead] = field(default_factory=list)
    """Images that cannot be had."""


def from_folder(settings: DetectorSettings, source: FolderSource, data: Path, console: Console) -> Built:
    """From a set in another form: its classes chosen and named, its boxes chosen and cleaned, its images split."""
    found, dead = _there(_read(settings, source, data, console), settings, data, console)
    classes = settings.classes or {name: [name] for name in found.classes}
    class_of = _class_of(classes, found.classes, data / source.folder)
    is_wanted = found.boxes["class"].isin(list(class_of))
    boxes, left_out = chosen_boxes(found.boxes[is_wanted], settings.keep)
    boxes = boxes.assign(**{"class": boxes["class"].map(class_of)})
    is_empty = ~found.images["id"].isin(found.boxes.loc[is_wanted, "id"])
    empty = _chosen_empty(found.images.loc[is_empty, "id"].tolist(), settings, int((~is_empty).sum()))
    images = found.images[~is_empty | found.images["id"].isin(empty)]
    return replace(finished(settings, list(classes), images, boxes, left_out, empty), dead=dead)


def _read(settings: DetectorSettings, source: FolderSource, data: Path, console: Console) -> BoxDataset:
    place = data / source.folder
    if source.kind == "yolo":
        from podium.detection.yolo import read_yolo

        found = read_yolo(place, slug=settings.slug, console=console)
    elif source.kind == "voc":
        from podium.detection.voc import read_voc

        found = read_voc(place, slug=settings.slug)
    else:
        from podium.detection.coco import read_coco

        found = read_coco(place, slug=settings.slug)
    folder = PurePosixPath(source.folder) if place.is_dir() else PurePosixPath(source.folder).parent
    files = found.images["file"].map(lambda file: str(folder / file))
    return replace(found, images=found.images.assign(file=files, turned=False))


def _there(
    found: BoxDataset, settings: DetectorSettings, data: Path, console: Console
) -> tuple[BoxDataset, list[Dead]]:
    """The images that are there, and whole, with their boxes; and the others."""
    images = found.images
    paths = [data / file for file in images["file"]]
    is_whole = read_catalogue(paths, f"boxes-{settings.slug}", console).readable
    dead = [
        Dead(id_, "", f"{'no whole image' if path.is_file() else 'not there'}: {path}")
        for id_, path, whole in zip(images["id"], paths, is_whole, strict=True)
        if not whole
    ]
    if dead and not is_whole.any():
        raise DataError(f"none of the {len(dead):,} images can be had (first: {dead[0].reason})")
    gone = {one.id for one in dead}
    left = replace(found, images=images[is_whole], boxes=found.boxes[~found.boxes["id"].isin(gone)])
    if settings.source.kind != "yolo":  # which has no sizes, so they were measured
        check_sizes(left, data, data)
    return left, dead


def _chosen_empty(ids: list[str], settings: DetectorSettings, with_boxes: int) -> set[str]:
    count = empty_count(settings, with_boxes, default=len(ids))
    return set(sorted(ids, key=lambda id_: rank(seed_of(settings), id_.encode()))[:count])


def _class_of(classes: Mapping[str, list[str]], known: list[str], where: Path) -> dict[str, str]:
    """The class of each name that the source has for it."""
    for name in (name for names in classes.values() for name in names):
        if name not in known:
            raise DataError(f"{where} has no class {name!r}{nearest(name, known)} (names are matched exactly)")
    return {name: class_ for class_, names in classes.items() for name in names}


def chosen_boxes(boxes: pd.DataFrame, keep: Keep) -> tuple[pd.DataFrame, dict[str, int]]:
    """The boxes that stay, and how many each flag has taken; a box of two flags counts for the first."""
    stays, left_out = np.ones(len(boxes), dtype=bool), {}
    for flag, is_kept in keep:
        if not is_kept and flag in boxes:
            taken = stays & boxes[flag].to_numpy(dtype=bool)
            left_out[flag] = int(taken.sum())
            stays &= ~taken
    return boxes[stays], {flag: count for flag, count in left_out.items() if count}


def empty_count(settings: DetectorSettings, with_boxes: int, default: int) -> int:
    """How many images without any box are asked for."""
    wanted = default if settings.empty_images is None else settings.empty_images
    return wanted if isinstance(wanted, int) else round(wanted * with_boxes)


def seed_of(settings: DetectorSettings) -> int:
    return 0 if isinstance(settings.split, SourceSplit) else settings.split.seed


def finished(
    settings: DetectorSettings,
    classes: list[str],
    images: pd.DataFrame,
    boxes: pd.DataFrame,
    left_out: dict[str, int],
    empty: set[str],
) -> Built:
    """The set of these images: those that have boxes once those are clean, and the empty ones that are wanted."""
    boxes, cleaned = clean_boxes(images, boxes)
    if boxes.empty:
        raise DataError(f"no box of {', '.join(classes)} is left; look at classes and keep in the detector file")
    stays = images["id"].isin(boxes["id"]) | images["id"].isin(empty)
    bare, images = int((~stays).sum()), images[stays].reset_index(drop=True)
    if not isinstance(settings.split, SourceSplit):
        shares = (settings.split.train, settings.split.validation, settings.split.test)
        images = images.assign(split=splits_of(images["id"], settings.split.seed, shares))
    made = BoxDataset(settings.slug, classes, images, boxes[list(BOX_COLUMNS)], {"kind": settings.source.kind})
    return Built(made, left_out, cleaned, bare)
