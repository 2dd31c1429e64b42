"""COCO's JSON for detection.

    annotations/instances_train.json      and instances_val.json, instances_test.json
    train/NAME.jpg                        and val, test: the images, where they were asked for

A box is left, top, width, height in pixels to a millionth; `group` is COCO's `iscrowd`. The other flags lie in
`attributes`, where annotation tools put theirs, and an image's id in `podium_id`, which other readers pass over: so
nothing is lost. Without images a `file_name` is the set's file as it is, seen from the data folder; a turned one is
marked `turned`, and is seen from the set's own folder.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from podium.detection.dataset import CORNERS, DIGITS, BoxDataset, rows_of_images, settled
from podium.detection.formats import (
    READ_SPLITS,
    SHORT_SPLITS,
    ImageFiles,
    boxset_from,
    classes_of_boxes,
    file_names_of,
    new_folder,
    put_images,
)
from podium.detection.parsing import MEND, json_of, number_in, pixels_in, problem_of_classes, short
from podium.errors import DataError

_ATTRIBUTES = ("occluded", "truncated", "depiction")
_SPLIT_IN_NAME = re.compile("train|validation|valid|val|test")
_AT_A_TIME = 5_000
"""Boxes that are turned into text together."""


def write_coco(boxset: BoxDataset, folder: Path, images: ImageFiles | None = None) -> None:
    """Into a folder that is not there yet or is empty. Images, boxes and classes are numbered from 1, over all three
    files."""
    boxset = settled(boxset)
    splits = boxset.images["split"].to_numpy()
    of_boxes = splits[rows_of_images(boxset.boxes["id"], boxset.images)] if len(boxset.boxes) else splits[:0]
    names = file_names_of(boxset)[1] if images is not None else boxset.images["file"].tolist()
    with new_folder(folder) as draft:
        (draft / "annotations").mkdir()
        for split, short_name in SHORT_SPLITS.items():
            entries = _images(boxset, names, np.flatnonzero(splits == split), images is None)
            boxes = _annotations(boxset, np.flatnonzero(of_boxes == split))
            with (draft / "annotations" / f"instances_{short_name}.json").open(
                "w", encoding="utf-8", newline="\n"
            ) as file:
                file.writelines(_text_of(boxset.classes, entries, boxes))
        if images is not None:
            places = [draft / SHORT_SPLITS[split] / name for split, name in zip(splits, names, strict=True)]
            put_images(boxset, places, images)


def _text_of(classes: list[str], images: Iterable[Any], annotations: Iterable[Any]) -> Iterator[str]:
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, start=1)]
    between = "{"
    for name, content in (("images", images), ("annotations", annotations), ("categories", categories)):
        yield f'{between}\n"{name}": '
        yield from _list_of(content)
        between = ","
    yield "\n}\n"


def _list_of(content: Iterable[Any]) -> Iterator[str]:
    content, between = iter(content), "["
    while some := list(islice(content, _AT_A_TIME)):
        yield between + ",\n".join(json.dumps(one, ensure_ascii=False) for one in some)
        between = ",\n"
    yield "]" if between != "[" else "[]"


def _images(boxset: BoxDataset, names: Sequence[str], rows: Any, is_in_place: bool) -> Iterator[dict[str, Any]]:
    table = boxset.images.iloc[rows]
    columns = [table[name].tolist() for name in ("id", "width", "height", "turned")]
    for row, name, width, height, turned in zip(rows.tolist(), *columns, strict=True):
        image = {"id": row + 1, "file_name": names[row], "width": width, "height": height, "podium_id": name}
        yield image | ({"turned": True} if turned and is_in_place else {})


def _annotations(boxset: BoxDataset, rows: Any) -> Iterator[dict[str, Any]]:
    boxes = boxset.boxes.iloc[rows]
    image = rows_of_images(boxes["id"], boxset.images) + 1
    category = classes_of_boxes(boxset)[rows] + 1
    corners = boxset.corners()[rows]
    sides = (corners[:, 2:] - corners[:, :2]).round(DIGITS)
    lists = np.concatenate([corners[:, :2], sides], axis=1).tolist()
    area = (sides[:, 0] * sides[:, 1]).round(DIGITS).tolist()
    attributes = zip(*(boxes[name].tolist() for name in _ATTRIBUTES), strict=True)
    columns = [(rows + 1).tolist(), image.tolist(), category.tolist(), lists, area, boxes["group"].tolist()]
    for number, image, kind, box, size, group, flags in zip(*columns, attributes, strict=True):
        yield {
            "id": number,
            "image_id": image,
            "category_id": kind,
            "bbox": box,
            "area": size,
            "iscrowd": int(group),
            "segmentation": [],
            "attributes": dict(zip(_ATTRIBUTES, flags, strict=True)),
        }


def read_coco(path: Path, *, slug: str | None = None) -> BoxDataset:
    """One file, or a folder with annotations/instances_*.json or with */_annotations.coco.json, whose names tell the
    splits; a single file whose name tells none is all to train.

    The classes are in the order of `categories`, whose numbers may have gaps. A file of the set is seen from the folder
    given, or from that of the one file. Boxes are as the files have them: clean them.
    """
    root = path if path.is_dir() else path.parent
    images: list[tuple[Any, ...]] = []
    boxes: list[tuple[Any, ...]] = []
    first: tuple[Path, dict[Any, str]] | None = None
    for file, split, place in _files_of(path):
        content = _lists_in(file)
        categories = _categories(file, content["categories"])
        if first is None:
            first = file, categories
        elif categories != first[1]:
            raise DataError(
                f"{file}: categories: others than in {first[0].name}; expected the same in each file: {MEND}"
            )
        rows = _add_images(images, file, content["images"], split, place)
        _add_boxes(boxes, file, content["annotations"], rows, categories)
    assert first is not None
    source = {"format": "coco", "path": str(path)}
    return boxset_from(slug or root.name, list(first[1].values()), images, boxes, source)


def _files_of(path: Path) -> list[tuple[Path, str, str]]:
    """Each file, its split, and the folder that its images lie in, as a beginning of their paths."""
    if not path.is_dir():
        return [(path, _split_in(path.stem), "")]
    found = [
        *((file, _split_in(file.stem), file.stem.removeprefix("instances_"))
          for file in sorted(path.glob("annotations/instances_*.json"))),
        *((file, _split_in(file.parent.name), file.parent.name)
          for file in sorted(path.glob("*/_annotations.coco.json"))),
    ]  # fmt: skip
    if not found:
        raise DataError(f"{path} has no annotations/instances_*.json; expected one a split, or name one JSON file")
    return [(file, split, f"{name}/" if (path / name).is_dir() else "") for file, split, name in found]


def _split_in(name: str) -> str:
    found = _SPLIT_IN_NAME.search(name.lower())
    return READ_SPLITS[found[0]] if found else "train"


def _lists_in(file: Path) -> dict[str, list[dict[str, Any]]]:
    content = json_of(file)
    for name in ("images", "annotations", "categories"):
        if not isinstance(content.get(name), list):
            raise DataError(f"{file}: {name}: expected a list: got {short(content.get(name))}; {MEND}")
        for number, item in enumerate(content[name]):
            if not isinstance(item, dict):
                raise DataError(f"{file}, {name}[{number}]: expected an object: got {short(item)}; {MEND}")
    return content


def _categories(file: Path, items: list[dict[str, Any]]) -> dict[Any, str]:
    names = [item.get("name") for item in items]
    if problem := problem_of_classes(names):
        raise DataError(f"{file}, categories: {problem}; {MEND}")
    found: dict[Any, str] = {}
    for number, item in enumerate(items):
        key = _key_in(item, file, f"categories[{number}]", found)
        found[key] = item["name"]
    return found


def _key_in(item: dict[str, Any], file: Path, at: str, known: Iterable[Any]) -> int | str:
    """The `id` of an item, which no earlier one has."""
    key = item.get("id")
    if isinstance(key, bool) or not isinstance(key, int | str):
        raise DataError(f"{file}, {at}: id: expected a number: got {short(key)}; {MEND}")
    if key in known:
        raise DataError(f"{file}, {at}: id: {short(key)} is there already; expected each once: {MEND}")
    return key


def _add_images(
    images: list[tuple[Any, ...]], file: Path, items: list[dict[str, Any]], split: str, place: str
) -> dict[Any, int]:
    """The row of each image by its number in the file."""
    rows: dict[Any, int] = {}
    for number, item in enumerate(items):
        at = f"images[{number}]"
        key = _key_in(item, file, at, rows)
        try:
            file_name = item.get("file_name")
            if not isinstance(file_name, str) or not file_name:
                raise ValueError(f"file_name: expected text: got {short(file_name)}")
            name = item.get("podium_id")
            if not isinstance(name, str) or not name:
                name = PurePosixPath(file_name).with_suffix("").as_posix()
            size = [_told(side, pixels_in, item.get(side)) for side in ("width", "height")]
        except ValueError as error:
            raise DataError(f"{file}, {at}: {error}; {MEND}") from None
        rows[key] = len(images)
        images.append((name, f"{place}{file_name}", *size, item.get("turned") is True, split))
    return rows


def _add_boxes(
    boxes: list[tuple[Any, ...]],
    file: Path,
    items: list[dict[str, Any]],
    rows: dict[Any, int],
    categories: dict[Any, str],
) -> None:
    for number, item in enumerate(items):
        try:
            row = _looked_up(item, "image_id", rows, "images")
            name = _looked_up(item, "category_id", categories, "categories")
            left, top, width, height = _bbox_in(item.get("bbox"))
            group = item.get("iscrowd", 0)
            if group not in (0, 1):
                raise ValueError(f"iscrowd: expected 0 or 1: got {short(group)}")
        except ValueError as error:
            raise DataError(f"{file}, annotations[{number}]: {error}; {MEND}") from None
        attributes = item.get("attributes")
        given = attributes if isinstance(attributes, dict) else {}
        occluded, truncated, depiction = (given.get(flag) in (True, 1) for flag in _ATTRIBUTES)
        boxes.append((row, name, left, top, left + width, top + height, occluded, truncated, bool(group), depiction))


def _looked_up(item: dict[str, Any], name: str, known: dict[Any, Any], where: str) -> Any:
    value = item.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str) or value not in known:
        raise ValueError(f"{name}: {short(value)} is the id of nothing in {where}")
    return known[value]


def _bbox_in(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != len(CORNERS):
        raise ValueError(f"bbox: expected four numbers, left, top, width, height: got {short(value)}")
    box = [_told("bbox", number_in, number) for number in value]
    if box[2] < 0 or box[3] < 0:
        raise ValueError(f"bbox: expected a width and a height of 0 or more: got {short(value)}")
    return box


def _told(name: str, reading: Any, value: Any) -> Any:
    try:
        return reading(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
