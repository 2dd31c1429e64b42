"""A dataset of images with bounding boxes, and its folder with three files:

    index.json      slug, classes in the order of the model's outputs, where the dataset comes from
    images.csv      id,file,width,height,rotated,split       one row per image, with or without boxes
    boxes.csv       id,class,left,top,right,bottom,occluded,truncated,group,depiction      one row per box

Coordinates are pixels of the upright image, rounded to six digits; `right` and `bottom` are exclusive, so that a box
of the full image is 0, 0, width, height. `file` is relative to the data folder, or for a rotated image, which podium
has written, to the dataset's folder.

A stored dataset is clean: each box has an area and is inside its image. Boxes read from another format may have swapped
corners or extend outside the image: see `podium.detection.cleaning`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel

from podium.detection.config import CORNERS, SPLITS
from podium.detection.parsing import ClassNames, check_names, read_json, read_table, short
from podium.errors import DataError
from podium.files import atomic_write, write_json

FLAGS = ("occluded", "truncated", "group", "depiction")
IMAGE_TYPES: dict[str, type] = {
    "id": str, "file": str, "width": int, "height": int, "rotated": bool, "split": str
}  # fmt: skip
BOX_TYPES: dict[str, type] = {
    "id": str, "class": str, **dict.fromkeys(CORNERS, float), **dict.fromkeys(FLAGS, bool)
}  # fmt: skip
IMAGE_COLUMNS, BOX_COLUMNS = tuple(IMAGE_TYPES), tuple(BOX_TYPES)
DIGITS = 6
"""Decimal places of a coordinate."""
INDEX, IMAGES, BOXES = "index.json", "images.csv", "boxes.csv"

Problem = tuple[NDArray[np.bool_], Sequence[str], str]
"""The rows with the problem, the columns, and the expected values."""


class _Index(BaseModel):
    format: Literal[1]
    slug: str
    classes: ClassNames
    source: dict[str, Any]


@dataclass(frozen=True, eq=False)
class BoxDataset:
    """Images and boxes with the columns of the two files, sorted by image id."""

    slug: str
    classes: list[str]
    images: pd.DataFrame
    boxes: pd.DataFrame
    source: dict[str, Any]
    """Where it comes from, for information."""

    def corners(self) -> NDArray[np.float64]:
        return self.boxes[list(CORNERS)].to_numpy(dtype=np.float64)


def write_dataset(dataset: BoxDataset, folder: Path) -> None:
    """Write all three files or none. A dataset that is not clean is a DataError."""
    dataset = checked(dataset)
    index, images, boxes = folder / INDEX, folder / IMAGES, folder / BOXES
    with atomic_write(index) as new_index, atomic_write(images) as new_images, atomic_write(boxes) as new_boxes:
        write_json(new_index, {"format": 1, "slug": dataset.slug, "classes": dataset.classes, "source": dataset.source})
        _write_csv(new_images, dataset.images, ["rotated"])
        _write_csv(new_boxes, dataset.boxes, list(FLAGS))
        index.unlink(missing_ok=True)  # an interruption between the three renames must not mix two datasets


def read_dataset(folder: Path) -> BoxDataset:
    """Read what `write_dataset` wrote. Anything else is a DataError with the file and, if possible, the line."""
    if not (folder / INDEX).is_file():
        raise DataError(f"{folder} has no {INDEX}: build the dataset with podium detect build")
    index = read_json(folder / INDEX, _Index)
    images, boxes = read_table(folder / IMAGES, IMAGE_TYPES), read_table(folder / BOXES, BOX_TYPES)
    dataset = BoxDataset(index.slug, index.classes, images, boxes, index.source)
    for table, problems, name in ((images, _image_problems, IMAGES), (boxes, _box_problems, BOXES)):
        if problem := first_problem(table, problems(dataset)):
            row, text = problem
            raise DataError(f"{folder / name}, line {row + 2}: {text}")
    return ordered(dataset)


def read_images(file: Path) -> pd.DataFrame:
    """The table of images alone."""
    return read_table(file, IMAGE_TYPES)


def checked(dataset: BoxDataset) -> BoxDataset:
    """The dataset sorted and rounded as it is stored. DataError if it is not clean."""
    where = f"cannot write the dataset {dataset.slug}"
    check_names(dataset.classes, f"{where}: classes")
    problem = first_problem(dataset.images, _image_problems(dataset))
    table = dataset.images
    if not problem:
        corners = dataset.boxes[list(CORNERS)].astype(np.float64).round(DIGITS) + 0.0  # -0.0 becomes 0.0
        dataset = ordered(replace(dataset, boxes=dataset.boxes.assign(**{name: corners[name] for name in CORNERS})))
        table = dataset.boxes
        problem = first_problem(table, _box_problems(dataset))
    if problem:
        row, text = problem
        raise DataError(f"{where}: image {short(table['id'].iloc[row])}: {text}")
    return dataset


def select_images(dataset: BoxDataset, ids: Collection[str]) -> BoxDataset:
    images, boxes = (table[table["id"].isin(ids)].reset_index(drop=True) for table in (dataset.images, dataset.boxes))
    return replace(dataset, images=images, boxes=boxes)


def ordered(dataset: BoxDataset) -> BoxDataset:
    """Sort by image id, with the columns and types of a stored dataset; boxes of an image keep their order."""
    images = dataset.images[list(IMAGE_COLUMNS)].astype({"width": np.int64, "height": np.int64, "rotated": bool})
    images = images.sort_values("id", kind="stable", ignore_index=True)
    boxes = dataset.boxes[list(BOX_COLUMNS)].astype(dict.fromkeys(CORNERS, np.float64) | dict.fromkeys(FLAGS, bool))
    rows = rows_of_images(boxes["id"], images)
    if (rows[1:] < rows[:-1]).any():
        order = np.argsort(rows, kind="stable")
        boxes, rows = boxes.iloc[order], rows[order]
    if (rows >= 0).all():  # boxes share the id strings of their images, which saves memory
        boxes = boxes.assign(id=images["id"].to_numpy()[rows])
    return replace(dataset, images=images, boxes=boxes.reset_index(drop=True))


def rows_of_images(ids: "pd.Series[str]", images: pd.DataFrame) -> NDArray[np.intp]:
    """The row of each id in `images`, -1 if there is none."""
    index = pd.Index(images["id"], dtype=object)
    rows = np.flatnonzero(~index.duplicated())
    found = index[rows].get_indexer(pd.Index(ids, dtype=object))
    return np.where(found < 0, -1, rows[found]) if len(rows) else np.full(len(ids), -1)


def image_path(file: str, rotated: bool, data_folder: Path, dataset_folder: Path) -> Path:
    return (dataset_folder if rotated else data_folder) / file


def image_paths(images: pd.DataFrame, data_folder: Path, dataset_folder: Path) -> list[Path]:
    return [
        image_path(file, rotated, data_folder, dataset_folder)
        for file, rotated in zip(images["file"], images["rotated"], strict=True)
    ]


def class_indices(dataset: BoxDataset) -> NDArray[np.int64]:
    """The index of each box's class."""
    classes: pd.Index[Any] = pd.Index(dataset.classes, dtype=object)
    return np.asarray(classes.get_indexer(pd.Index(dataset.boxes["class"], dtype=object)))


def boxes_by_image(dataset: BoxDataset) -> list[slice]:
    """The rows of the boxes of each image, in the order of the images."""
    rows = rows_of_images(dataset.boxes["id"], dataset.images)
    ends = np.searchsorted(rows, np.arange(len(dataset.images) + 1)).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]


def _image_problems(dataset: BoxDataset) -> list[Problem]:
    images = dataset.images
    return [
        (~_is_text(images["id"]), ["id"], "text"),
        (images["id"].duplicated().to_numpy(), ["id"], "an id that is not on an earlier line"),
        (~_is_text(images["file"]), ["file"], "a path"),
        (images["width"].lt(1).to_numpy(), ["width"], "1 pixel or more"),
        (images["height"].lt(1).to_numpy(), ["height"], "1 pixel or more"),
        (~images["split"].isin(SPLITS).to_numpy(), ["split"], " or ".join(SPLITS)),
    ]


def _box_problems(dataset: BoxDataset) -> list[Problem]:
    boxes, corners = dataset.boxes, dataset.corners()
    rows = rows_of_images(boxes["id"], dataset.images)
    sizes = dataset.images[["width", "height"]].to_numpy()[rows] if len(rows) else np.empty((0, 2))
    some_classes = ", ".join(dataset.classes[:5]) + (", ..." if len(dataset.classes) > 5 else "")
    is_outside = (corners[:, :2] < 0).any(axis=1) | (corners[:, 2:] > sizes).any(axis=1)
    return [
        (rows < 0, ["id"], "the id of an image"),
        (~boxes["class"].isin(dataset.classes).to_numpy(), ["class"], f"one of {some_classes}"),
        (~np.isfinite(corners).all(axis=1), CORNERS, "finite numbers"),
        ((corners[:, 2:] <= corners[:, :2]).any(axis=1), CORNERS, "left < right and top < bottom"),
        (is_outside, CORNERS, "a box inside its image"),
    ]


def first_problem(table: pd.DataFrame, problems: Sequence[Problem]) -> tuple[int, str] | None:
    """A row and its problem."""
    for given, columns, expected in problems:
        rows = np.asarray(given)
        if rows.any():
            row = int(rows.argmax())
            values = ", ".join(short(value) for value in table[list(columns)].iloc[row].tolist())
            return row, f"{', '.join(columns)}: expected {expected}, got {values}"
    return None


def _is_text(column: "pd.Series[Any]") -> NDArray[np.bool_]:
    """Whether each value is a non-empty string that can be written as UTF-8."""

    def is_text(value: Any) -> bool:
        try:
            return isinstance(value, str) and bool(value.encode())
        except UnicodeEncodeError:  # a lone surrogate, from JSON or from a file name that is not UTF-8
            return False

    return np.fromiter(map(is_text, column), dtype=bool, count=len(column))


def _write_csv(path: Path, table: pd.DataFrame, flags: list[str]) -> None:
    table.astype(dict.fromkeys(flags, np.int8)).to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
