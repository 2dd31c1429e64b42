"""A set of images with boxes, and the folder that it is kept in as three plain files.

    index.json      the slug, the classes in the order of a model's outputs, where it was made from
    images.csv    id,file,width,height,turned,split       a row an image, those without any box too
    boxes.csv       id,class,left,top,right,bottom,occluded,truncated,group,depiction      a row a box

Corners are pixels of the upright image, `right` and `bottom` where the box ends: a box of the whole image is 0, 0,
width, height. They are kept to a millionth of a pixel. A file is seen from the data folder; that of a turned image
from this one, since it was made by podium.

What is kept is clean: each box has an area and lies within its image. What was just read out of another format may
have swapped corners or reach outside; `podium.detection.cleaning` mends that.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.detection.parsing import (
    MEND,
    columns_of,
    flags,
    json_of,
    numbers,
    problem_of_classes,
    short,
    texts,
    whole_numbers,
)
from podium.errors import DataError
from podium.files import atomic_write, write_json

SPLITS = ("train", "validation", "test")
CORNERS = ("left", "top", "right", "bottom")
FLAGS = ("occluded", "truncated", "group", "depiction")
IMAGE_COLUMNS = ("id", "file", "width", "height", "turned", "split")
BOX_COLUMNS = ("id", "class", *CORNERS, *FLAGS)
FORMAT = 1
DIGITS = 6
"""Of a corner in pixels, behind the point."""
INDEX, IMAGES, BOXES = "index.json", "images.csv", "boxes.csv"
_IMAGE_CELLS = dict(zip(IMAGE_COLUMNS, (texts, texts, whole_numbers, whole_numbers, flags, texts), strict=True))
_BOX_CELLS = dict(zip(BOX_COLUMNS, (texts, texts, *[numbers] * 4, *[flags] * 4), strict=True))

Problem = tuple[NDArray[np.bool_], Callable[[Mapping[str, Any]], str]]
"""Which rows have it, and how it is told of one."""


@dataclass(frozen=True, eq=False)
class BoxDataset:
    """The columns are those of the two files. `id`, `file`, `class` and `split` are text, corners float64, `width` and
    `height` whole numbers, the rest true or false; rows are in the order of the images' ids."""

    slug: str
    classes: list[str]
    images: pd.DataFrame
    boxes: pd.DataFrame
    source: dict[str, Any]
    """What it was made from, for people."""

    def corners(self) -> NDArray[np.float64]:
        return self.boxes[list(CORNERS)].to_numpy(dtype=np.float64)


def write_dataset(boxset: BoxDataset, folder: Path) -> None:
    """All three files, or none: a set that was there before stays until the new one is whole. What is wrong with a set
    is a DataError, as when it is read."""
    boxset = settled(boxset)
    index, images, boxes = folder / INDEX, folder / IMAGES, folder / BOXES
    with atomic_write(index) as index_draft, atomic_write(images) as images_draft, atomic_write(boxes) as boxes_draft:
        content = {"format": FORMAT, "slug": boxset.slug, "classes": boxset.classes, "source": boxset.source}
        write_json(index_draft, content)
        _write_csv(images_draft, boxset.images, ["turned"])
        _write_csv(boxes_draft, boxset.boxes, list(FLAGS))
        # The index comes last: three renamings are not one, and a kill between them must leave no mixture.
        index.unlink(missing_ok=True)


def read_dataset(folder: Path) -> BoxDataset:
    """DataError with the file and the line where it is not what `write_dataset` writes."""
    if not (folder / INDEX).is_file():
        raise DataError(f"{folder} holds no {INDEX}; expected a whole set of boxes: build it (again)")
    index = _read_index(folder / INDEX)
    images, image_lines = columns_of(folder / IMAGES, _IMAGE_CELLS)
    boxes, box_lines = columns_of(folder / BOXES, _BOX_CELLS)
    boxset = BoxDataset(images=pd.DataFrame(images), boxes=pd.DataFrame(boxes), **index)
    for table, problems, lines, name in (
        (boxset.images, problems_of_images(boxset), image_lines, IMAGES),
        (boxset.boxes, problems_of_boxes(boxset), box_lines, BOXES),
    ):
        if found := first_problem(table, problems):
            row, told = found
            raise DataError(f"{folder / name}, line {lines[row]}: {told}; {MEND}")
    return ordered(boxset)


def read_images(file: Path) -> pd.DataFrame:
    """The table of images alone, as a set had it when this copy was made."""
    return pd.DataFrame(columns_of(file, _IMAGE_CELLS)[0])


def settled(boxset: BoxDataset) -> BoxDataset:
    """The set as it may be kept: in order, rounded, and looked at. A DataError tells the first problem."""
    problem = problem_of_classes(boxset.classes)
    problem = problem or _first_row_told(boxset.images, problems_of_images(boxset), "mend the table of images")
    if not problem:
        corners = boxset.boxes[list(CORNERS)].astype(np.float64).round(DIGITS) + 0.0  # -0.0 becomes 0.0
        boxset = ordered(replace(boxset, boxes=boxset.boxes.assign(**{name: corners[name] for name in CORNERS})))
        problem = _first_row_told(boxset.boxes, problems_of_boxes(boxset), "clean the boxes first")
    if problem:
        raise DataError(f"the set of boxes {boxset.slug} cannot be written: {problem}")
    return boxset


def _first_row_told(table: pd.DataFrame, problems: Iterator[Problem], what_to_do: str) -> str | None:
    if not (found := first_problem(table, problems)):
        return None
    row, told = found
    return f"a row of the image {short(table['id'].iloc[row])}: {told}; {what_to_do}"


def only(boxset: BoxDataset, ids: Collection[str]) -> BoxDataset:
    """These images of the set, with their boxes."""
    images, boxes = (table[table["id"].isin(ids)].reset_index(drop=True) for table in (boxset.images, boxset.boxes))
    return replace(boxset, images=images, boxes=boxes)


def ordered(boxset: BoxDataset) -> BoxDataset:
    """With the columns, kinds and order of rows of a BoxDataset; boxes of an image stay in their order."""
    images = boxset.images[list(IMAGE_COLUMNS)].astype({"width": np.int64, "height": np.int64, "turned": bool})
    images = images.sort_values("id", kind="stable", ignore_index=True)
    boxes = boxset.boxes[list(BOX_COLUMNS)].astype(dict.fromkeys(CORNERS, np.float64) | dict.fromkeys(FLAGS, bool))
    position = rows_of_images(boxes["id"], images)
    if (position[1:] < position[:-1]).any():
        order = np.argsort(position, kind="stable")
        boxes, position = boxes.iloc[order], position[order]
    if (position >= 0).all():  # one text an image, not one a box
        boxes = boxes.assign(id=images["id"].to_numpy()[position])
    return replace(boxset, images=images, boxes=boxes.reset_index(drop=True))


def rows_of_images(ids: "pd.Series[str]", images: pd.DataFrame) -> NDArray[np.intp]:
    """In which row of `images` each of these ids stands first, -1 where in none."""
    rows = pd.Series(np.arange(len(images)), index=pd.Index(images["id"], dtype=object))
    first = rows[~rows.index.duplicated()]
    found = first.index.get_indexer(pd.Index(ids, dtype=object))
    return np.where(found < 0, -1, first.to_numpy()[found]) if len(first) else np.full(len(ids), -1)


def image_path(file: str, turned: bool, data_folder: Path, own_folder: Path) -> Path:
    """Where an image lies: a turned one in the set's own folder, any other in the data folder."""
    return (own_folder if turned else data_folder) / file


def problems_of_images(boxset: BoxDataset) -> Iterator[Problem]:
    images = boxset.images
    yield ~_are_texts(images["id"]), lambda row: f"id: expected text: got {short(row['id'])}"
    yield (
        images["id"].duplicated().to_numpy(),
        lambda row: f"id: {short(row['id'])} is on an earlier line too; expected each image once",
    )
    yield ~_are_texts(images["file"]), lambda row: f"file: expected a path in UTF-8: got {short(row['file'])}"
    yield images["width"].lt(1).to_numpy(), lambda row: f"width: expected 1 pixel or more: got {row['width']}"
    yield images["height"].lt(1).to_numpy(), lambda row: f"height: expected 1 pixel or more: got {row['height']}"
    yield (
        ~images["split"].isin(SPLITS).to_numpy(),
        lambda row: f"split: expected one of {', '.join(SPLITS)}: got {short(row['split'])}",
    )


def problems_of_boxes(boxset: BoxDataset) -> Iterator[Problem]:
    boxes, corners = boxset.boxes, boxset.corners()
    rows = rows_of_images(boxes["id"], boxset.images)
    yield rows < 0, lambda row: f"id: {short(row['id'])} is no image of the set"
    few = ", ".join(boxset.classes[:5]) + (", …" if len(boxset.classes) > 5 else "")
    yield (
        ~boxes["class"].isin(boxset.classes).to_numpy(),
        lambda row: f"class: {short(row['class'])} is none of the set's, {few}",
    )
    yield ~np.isfinite(corners).all(axis=1), lambda row: f"expected finite corners: got {_corners(row)}"
    yield (
        (corners[:, 2:] <= corners[:, :2]).any(axis=1),
        lambda row: f"expected left below right and top below bottom: got {_corners(row)}",
    )
    sizes = boxset.images[["width", "height"]].to_numpy()[rows] if len(rows) else np.empty((0, 2))
    yield (
        (corners[:, :2] < 0).any(axis=1) | (corners[:, 2:] > sizes).any(axis=1),
        lambda row: f"expected a box within its image: got {_corners(row)}",
    )


def first_problem(table: pd.DataFrame, problems: Iterator[Problem]) -> tuple[int, str] | None:
    """The first row with the first of these problems, and what to tell of it."""
    for rows, told in problems:
        if rows.any():
            row = int(rows.argmax())
            return row, told(table.iloc[row].to_dict())
    return None


def _are_texts(column: "pd.Series[Any]") -> NDArray[np.bool_]:
    """Whether each is text that a file can hold, and not empty."""
    return np.fromiter((isinstance(value, str) and _is_text(value) for value in column), dtype=bool, count=len(column))


def _is_text(value: str) -> bool:
    try:
        return bool(value.encode())
    except UnicodeEncodeError:  # half a character, out of JSON or out of a file's name that is not UTF-8
        return False


def _corners(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {row[name]:g}" for name in CORNERS)


def _read_index(path: Path) -> dict[str, Any]:
    content = json_of(path)
    if content.get("format") != FORMAT:
        told = f"format: expected {FORMAT}: got {short(content.get('format'))}"
        raise DataError(f"{path}: {told}; build the set again with this version of podium")
    for name, kind, what in (("slug", str, "text"), ("classes", list, "a list"), ("source", dict, "an object")):
        if not isinstance(content.get(name), kind):
            raise DataError(f"{path}: {name}: expected {what}: got {short(content.get(name))}; {MEND}")
    problem = problem_of_classes(content["classes"])
    if problem:
        raise DataError(f"{path}: classes: {problem}; {MEND}")
    return {name: content[name] for name in ("slug", "classes", "source")}


def _write_csv(path: Path, table: pd.DataFrame, flag_columns: list[str]) -> None:
    table = table.astype(dict.fromkeys(flag_columns, np.int8))
    table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
