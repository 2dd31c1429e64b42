"""Tables of detections, as CSV and as COCO results.

    id,class,score,left,top,right,bottom

Coordinates are as in a dataset: pixels of the upright image, `right` and `bottom` exclusive. As COCO results a
detection is

    {"image_id": 1, "category_id": 1, "bbox": [left, top, width, height], "score": 0.9, "podium_id": "0a1b2c"}

where images and classes are numbered from 1 in their order. `podium_id` is the image's id and not part of the format.

Numbers are written with nine digits, which restore every float32 exactly.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from podium.detection.config import CORNERS
from podium.detection.dataset import first_problem
from podium.detection.parsing import read_table, short
from podium.errors import DataError
from podium.files import atomic_write

DETECTION_TYPES: dict[str, type] = {"id": str, "class": str, "score": float, **dict.fromkeys(CORNERS, float)}
DETECTION_COLUMNS = tuple(DETECTION_TYPES)
_NUMBERS = ["score", *CORNERS]


def detections_table(rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """A table of these rows; ids and classes are text, the other columns float64, even without any row."""
    table = pd.DataFrame(list(rows), columns=list(DETECTION_COLUMNS))
    texts: dict[Any, Any] = dict.fromkeys(("id", "class"), object)
    return table.astype(texts | dict.fromkeys(_NUMBERS, np.float64))


def write_detections(path: Path, detections: pd.DataFrame) -> None:
    with atomic_write(path) as draft:
        detections[list(DETECTION_COLUMNS)].to_csv(
            draft, index=False, float_format="%.9g", lineterminator="\n", encoding="utf-8"
        )


def read_detections(path: Path, classes: Collection[str] | None = None) -> pd.DataFrame:
    """A CSV file with these columns. With `classes`, other classes are an error."""
    table = read_table(path, DETECTION_TYPES)
    scores, corners = table["score"], table[list(CORNERS)].to_numpy()
    problems = [
        (table["id"] == "", ["id"], "the name of an image"),
        (~np.isfinite(table[_NUMBERS]).all(axis=1), _NUMBERS, "finite numbers"),
        (~scores.between(0, 1), ["score"], "a score from 0 to 1"),
        ((corners[:, 2:] < corners[:, :2]).any(axis=1), CORNERS, "left <= right and top <= bottom"),
    ]
    if classes is not None:
        problems.append((~table["class"].isin(classes), ["class"], f"one of {short(', '.join(classes))}"))
    if problem := first_problem(table, problems):
        row, text = problem
        raise DataError(f"{path}, line {row + 2}: {text}")
    return table.astype({"id": object, "class": object})


def write_coco_results(path: Path, detections: pd.DataFrame, classes: Sequence[str], images: Sequence[str]) -> None:
    """One line per box. `images` are the ids in the order of their numbers."""
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        separator = "[\n"
        for line in _result_lines(detections, numbered(classes), numbered(images)):
            file.write(f"{separator}{line}")
            separator = ",\n"
        file.write("\n]\n" if separator != "[\n" else "[]\n")


def numbered(names: Sequence[str]) -> dict[str, int]:
    """COCO's numbers of images or classes: from 1, in this order."""
    return {name: number for number, name in enumerate(names, start=1)}


def _result_lines(
    detections: pd.DataFrame, class_numbers: dict[str, int], image_numbers: dict[str, int]
) -> Iterator[str]:
    for image_id, class_name, score, left, top, right, bottom in detections[list(DETECTION_COLUMNS)].itertuples(
        index=False
    ):
        bbox = ", ".join(f"{number:.9g}" for number in (left, top, right - left, bottom - top))
        yield (
            f'{{"image_id": {image_numbers[image_id]}, "category_id": {class_numbers[class_name]}, "bbox": [{bbox}],'
            f' "score": {score:.9g}, "podium_id": {json.dumps(image_id, ensure_ascii=False)}}}'
        )
