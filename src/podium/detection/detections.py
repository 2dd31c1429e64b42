"""What a detector finds, a row each, and the two files that it is kept in.

    id,class,score,left,top,right,bottom

The corners mean what a set's do: pixels of the upright image, `right` and `bottom` where the box ends. As CSV that is
the table itself. As COCO results, what pycocotools and other tools read, it is a list of

    {"image_id": 1, "category_id": 1, "bbox": [left, top, width, height], "score": 0.9, "podium_id": "0a1b2c"}

where the images have the numbers 1, 2, … in the order of a list, as a rule a set's `images`, and the classes the
numbers 1, 2, … in the order of the set's: the numbers of a set that is exported for COCO. `podium_id` is no part of
that format, and there for people.

Figures are written with nine digits, which bring every float32 back exactly.
"""

import csv
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from podium.detection.dataset import CORNERS
from podium.errors import DataError
from podium.files import atomic_write

DETECTION_COLUMNS = ("id", "class", "score", *CORNERS)
_FIGURES = ["score", *CORNERS]
_LINE = ",".join(["%.9g"] * len(_FIGURES))
_AT_A_TIME = 5_000
"""Rows that are turned into text together, so that a long file takes no more memory than a short one."""


def detections_table(rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """A table of these rows, also of none: ids and classes text, figures float64."""
    table = pd.DataFrame(list(rows), columns=list(DETECTION_COLUMNS))
    texts: dict[Any, Any] = dict.fromkeys(("id", "class"), object)
    return table.astype(texts | dict.fromkeys(_FIGURES, np.float64))


def write_detections(path: Path, found: pd.DataFrame) -> None:
    """The whole CSV or nothing, in the table's order."""
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(DETECTION_COLUMNS)
        for name, kind, figures in _rows_of(found):
            writer.writerow([name, kind, *(_LINE % figures).split(",")])


def read_detections(path: Path, classes: Collection[str] | None = None) -> pd.DataFrame:
    """What `write_detections` wrote, or anybody else with these columns; else DataError with the line.

    With `classes`, one that is not among them is an error too.
    """
    reader = csv.reader(_lines_of(path), strict=True)
    try:
        heading = next(reader, [])
        if heading != list(DETECTION_COLUMNS):
            raise ValueError(f"columns {', '.join(map(_short, heading)) or 'none'}")
        return detections_table(_checked_row(cells, classes) for cells in reader)
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path}, line {max(reader.line_num, 1)}: {error}; expected {','.join(DETECTION_COLUMNS)} first, and"
            " a box in each other one: detect again, or mend the file"
        ) from error


def write_coco_results(path: Path, found: pd.DataFrame, classes: Sequence[str], images: Sequence[str]) -> None:
    """The whole JSON or nothing, a line a box; `images` are ids in the order of their numbers."""
    class_numbers, image_numbers = numbered(classes), numbered(images)
    lines = _result_lines(found, class_numbers, image_numbers)
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        first = next(lines, "")
        file.writelines(chain(["[\n", first], (f",\n{line}" for line in lines), ["\n]\n"]))


def read_coco_results(path: Path, classes: Sequence[str], images: Sequence[str]) -> pd.DataFrame:
    """Anybody's results for these classes and images; else DataError with the number of the entry, from 1."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected COCO results: detect first") from error
    except ValueError as error:  # neither UTF-8 nor JSON
        raise DataError(f"{path} is no JSON ({error}); expected a list of COCO results: detect again") from error
    if not isinstance(entries, list):
        what = "a whole COCO set" if isinstance(entries, dict) and "annotations" in entries else type(entries).__name__
        raise DataError(f"{path} holds {what}; expected a list of COCO results: give the file of what was detected")
    rows = []
    for number, entry in enumerate(entries, start=1):
        try:
            rows.append(_row_of_entry(entry, classes, images))
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"{path}, entry {number}: {error}; expected image_id from 1 to {len(images)}, category_id from 1 to"
                f" {len(classes)}, bbox as left, top, width, height, and a score from 0 to 1: detect again"
            ) from error
    return detections_table(rows)


def numbered(names: Sequence[str]) -> dict[str, int]:
    """As COCO's files number images and classes: from 1, in this order."""
    return {name: number for number, name in enumerate(names, start=1)}


def _rows_of(found: pd.DataFrame) -> Iterator[tuple[str, str, tuple[float, ...]]]:
    for start in range(0, len(found), _AT_A_TIME):
        part = found.iloc[start : start + _AT_A_TIME]
        for name, kind, figures in zip(part["id"], part["class"], part[_FIGURES].to_numpy().tolist(), strict=True):
            yield name, kind, tuple(figures)


def _result_lines(
    found: pd.DataFrame, class_numbers: Mapping[str, int], image_numbers: Mapping[str, int]
) -> Iterator[str]:
    for name, kind, (score, left, top, right, bottom) in _rows_of(found):
        if name not in image_numbers or kind not in class_numbers:
            what, known = ("class", "classes") if name in image_numbers else ("image", "images")
            raise DataError(
                f"A box is of {what} {_short(kind if what == 'class' else name)}, which is none of the {known} to"
                " write; expected those of one set: detect with the detector of that set"
            )
        box = ", ".join(f"{figure:.9g}" for figure in (left, top, right - left, bottom - top))
        yield (
            f'{{"image_id": {image_numbers[name]}, "category_id": {class_numbers[kind]}, "bbox": [{box}],'
            f' "score": {score:.9g}, "podium_id": {json.dumps(name, ensure_ascii=False)}}}'
        )


def _checked_row(cells: Sequence[str], classes: Collection[str] | None) -> tuple[Any, ...]:
    if len(cells) != len(DETECTION_COLUMNS):
        raise ValueError(f"{len(cells)} values, expected {len(DETECTION_COLUMNS)}")
    name, kind, *texts = cells
    if not name:
        raise ValueError("an empty id")
    if classes is not None and kind not in classes:
        raise ValueError(f"class {_short(kind)} is none of {_few(classes)}")
    return name, kind, *_checked_figures(texts)


def _row_of_entry(entry: Any, classes: Sequence[str], images: Sequence[str]) -> tuple[Any, ...]:
    if not isinstance(entry, dict):
        raise ValueError(f"{_short(entry)} is no object")
    missing = [key for key in ("image_id", "category_id", "bbox", "score") if key not in entry]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    names = []
    for key, known in (("image_id", images), ("category_id", classes)):
        number = entry[key]
        if type(number) is not int or not 1 <= number <= len(known):
            raise ValueError(f"{key} {_short(number)}")
        names.append(known[number - 1])
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4 or any(type(one) not in (int, float) for one in box):
        raise ValueError(f"bbox {_short(box)}")
    if type(entry["score"]) not in (int, float):
        raise ValueError(f"score {_short(entry['score'])}")
    left, top, width, height = box
    return *names, *_checked_figures([entry["score"], left, top, left + width, top + height])


def _checked_figures(values: Sequence[Any]) -> list[float]:
    score, left, top, right, bottom = figures = [*map(float, values)]
    if not all(map(math.isfinite, figures)):
        wrong = next(value for value, figure in zip(values, figures, strict=True) if not math.isfinite(figure))
        raise ValueError(f"{wrong} is not a finite number")
    if not 0 <= score <= 1:
        raise ValueError(f"score {score:g} is not from 0 to 1")
    if right < left or bottom < top:
        raise ValueError(f"the box {left:g}, {top:g}, {right:g}, {bottom:g} ends before it begins")
    return figures


def _lines_of(path: Path) -> Iterator[str]:
    """The lines as they are, read as they are asked for."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from file
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected a CSV of boxes: detect first") from error


def _few(names: Collection[str]) -> str:
    first = [*names][:3]
    return ", ".join(map(_short, first)) + (", …" if len(names) > len(first) else "")


def _short(value: Any) -> str:
    """On one line and not endless, whatever the file held."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
