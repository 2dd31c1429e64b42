"""COCO's JSON format for detection.

    annotations/instances_train.json      and instances_val.json, instances_test.json
    train/NAME.jpg                        and val, test: the images, if exported

A box is left, top, width, height in pixels. `group` is COCO's `iscrowd`; the other flags are in `attributes`, and the
image id is in `podium_id`, which other tools ignore, so that all data is preserved. Without images, `file_name` is the
dataset's file, and a rotated image is marked `rotated`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, Field

from podium.detection.dataset import DIGITS, BoxDataset, checked, class_indices, rows_of_images
from podium.detection.formats import (
    SHORT_SPLITS,
    SPLIT_NAMES,
    ImageFiles,
    dataset_from_rows,
    export_images,
    file_names,
    new_folder,
)
from podium.detection.parsing import ClassName, Coordinate, PixelCount, check_names, read_json, short
from podium.errors import DataError

_ATTRIBUTES = ("occluded", "truncated", "depiction")
_SPLIT_IN_NAME = re.compile("train|validation|valid|val|test")
_CHUNK = 5_000
"""Annotations converted to text at a time."""
Key = int | str
Length = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class _Image(BaseModel):
    id: Key
    file_name: Annotated[str, Field(min_length=1)]
    width: PixelCount
    height: PixelCount
    podium_id: str = ""
    rotated: bool = False

    @property
    def image_id(self) -> str:
        return self.podium_id or PurePosixPath(self.file_name).with_suffix("").as_posix()


class _Annotation(BaseModel):
    image_id: Key
    category_id: Key
    bbox: tuple[Coordinate, Coordinate, Length, Length]
    iscrowd: Literal[0, 1] = 0
    attributes: Annotated[dict[str, Any], BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = {}


class _Category(BaseModel):
    id: Key
    name: ClassName


class _File(BaseModel):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def write_coco(dataset: BoxDataset, folder: Path, images: ImageFiles | None = None) -> None:
    """Ids of images, boxes and classes start from 1 and are unique over all three files."""
    dataset = checked(dataset)
    splits = dataset.images["split"].to_numpy()
    box_splits = splits[rows_of_images(dataset.boxes["id"], dataset.images)] if len(dataset.boxes) else splits[:0]
    names = file_names(dataset)[1] if images is not None else dataset.images["file"].tolist()
    with new_folder(folder) as draft:
        (draft / "annotations").mkdir()
        for split, short_name in SHORT_SPLITS.items():
            content = {
                "images": _images(dataset, names, np.flatnonzero(splits == split), with_rotated=images is None),
                "annotations": _annotations(dataset, np.flatnonzero(box_splits == split)),
                "categories": iter(
                    {"id": number, "name": name, "supercategory": ""}
                    for number, name in enumerate(dataset.classes, start=1)
                ),
            }
            path = draft / "annotations" / f"instances_{short_name}.json"
            with path.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_json_text(content))
        if images is not None:
            targets = [draft / SHORT_SPLITS[split] / name for split, name in zip(splits, names, strict=True)]
            export_images(dataset, targets, images)


def _json_text(content: dict[str, Iterator[Any]]) -> Iterator[str]:
    """One item per line, without holding the text of a large dataset in memory."""
    for number, (key, items) in enumerate(content.items()):
        yield f'{"," if number else "{"}\n"{key}": ['
        separator = ""
        while chunk := list(islice(items, _CHUNK)):
            yield separator + ",\n".join(json.dumps(item, ensure_ascii=False) for item in chunk)
            separator = ",\n"
        yield "]"
    yield "\n}\n"


def _images(dataset: BoxDataset, names: Sequence[str], rows: Any, *, with_rotated: bool) -> Iterator[dict[str, Any]]:
    columns = ["id", "width", "height", "rotated"]
    for row, values in zip(rows.tolist(), dataset.images[columns].iloc[rows].itertuples(index=False), strict=True):
        image_id, width, height, rotated = values
        image = {"id": row + 1, "file_name": names[row], "width": width, "height": height, "podium_id": image_id}
        yield image | ({"rotated": True} if rotated and with_rotated else {})


def _annotations(dataset: BoxDataset, rows: Any) -> Iterator[dict[str, Any]]:
    boxes = dataset.boxes.iloc[rows]
    images = rows_of_images(boxes["id"], dataset.images) + 1
    categories = class_indices(dataset)[rows] + 1
    corners = dataset.corners()[rows]
    sizes = (corners[:, 2:] - corners[:, :2]).round(DIGITS)
    bboxes = np.concatenate([corners[:, :2], sizes], axis=1)
    areas = sizes.prod(axis=1).round(DIGITS)
    attributes = zip(*(boxes[name].tolist() for name in _ATTRIBUTES), strict=True)
    columns = [column.tolist() for column in (rows + 1, images, categories, bboxes, areas, boxes["group"])]
    for number, image, category, bbox, area, group, flags in zip(*columns, attributes, strict=True):
        yield {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": bbox,
            "area": area,
            "iscrowd": int(group),
            "segmentation": [],
            "attributes": dict(zip(_ATTRIBUTES, flags, strict=True)),
        }


def read_coco(path: Path, *, slug: str | None = None) -> BoxDataset:
    """Read one file, or a folder with annotations/instances_*.json or */_annotations.coco.json.

    The names of the files or folders give the splits; without one, all images are for training. Image files are
    relative to the folder. Boxes are not cleaned.
    """
    images: list[tuple[Any, ...]] = []
    boxes: list[tuple[Any, ...]] = []
    first: tuple[Path, dict[Key, str]] | None = None
    for file, split, prefix in _annotation_files(path):
        content = read_json(file, _File)
        categories = {key: item.name for key, item in _by_id(file, "categories", content.categories).items()}
        check_names(list(categories.values()), f"{file}: categories")
        first = first or (file, categories)
        if categories != first[1]:
            raise DataError(f"{file}: categories: expected those of {first[0].name}, got {short(categories)}")
        rows = {key: len(images) + row for row, key in enumerate(_by_id(file, "images", content.images))}
        images += [
            (item.image_id, f"{prefix}{item.file_name}", item.width, item.height, item.rotated, split)
            for item in content.images
        ]
        boxes += _box_rows(file, content.annotations, rows, categories)
    assert first is not None
    root = path if path.is_dir() else path.parent
    return dataset_from_rows(slug or root.name, list(first[1].values()), images, boxes, path)


def _annotation_files(path: Path) -> list[tuple[Path, str, str]]:
    """Each file, its split, and the folder of its images as a prefix of their paths."""
    if not path.is_dir():
        return [(path, _split_in(path.stem), "")]
    found = [(file, file.stem.removeprefix("instances_")) for file in sorted(path.glob("annotations/instances_*.json"))]
    found += [(file, file.parent.name) for file in sorted(path.glob("*/_annotations.coco.json"))]
    if not found:
        raise DataError(
            f"{path}: expected annotations/instances_*.json, one file per split, or the path of a single JSON file"
        )
    return [(file, _split_in(name), f"{name}/" if (path / name).is_dir() else "") for file, name in found]


def _split_in(name: str) -> str:
    match = _SPLIT_IN_NAME.search(name.lower())
    return SPLIT_NAMES[match[0]] if match else "train"


def _by_id(file: Path, key: str, items: Iterable[Any]) -> dict[Key, Any]:
    found: dict[Key, Any] = {}
    for number, item in enumerate(items):
        if item.id in found:
            raise DataError(f"{file}: {key}[{number}].id: duplicate id {short(item.id)}")
        found[item.id] = item
    return found


def _box_rows(
    file: Path, items: Sequence[_Annotation], rows: dict[Key, int], categories: dict[Key, str]
) -> Iterator[tuple[Any, ...]]:
    for number, item in enumerate(items):
        for name, key, known in (("image_id", item.image_id, rows), ("category_id", item.category_id, categories)):
            if key not in known:
                raise DataError(f"{file}: annotations[{number}].{name}: {short(key)} does not exist")
        left, top, width, height = item.bbox
        occluded, truncated, depiction = (item.attributes.get(flag) in (True, 1) for flag in _ATTRIBUTES)
        corners = left, top, left + width, top + height
        yield rows[item.image_id], categories[item.category_id], *corners, occluded, truncated, item.iscrowd, depiction
