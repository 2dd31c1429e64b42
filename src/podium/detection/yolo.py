"""YOLO's text format, as used by Ultralytics and darknet.

    data.yaml                the folders of images of each split, and the classes
    obj.names                the classes, one per line
    images/train/NAME.jpg    and images/val, images/test: the images, if exported
    labels/train/NAME.txt    one line per box: class cx cy width height, relative to the image's width and height

The numbers have nine decimal places. The format has no flags, so they are lost, and no image sizes, so reading needs
the images. An image without boxes has an empty label file.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, BeforeValidator
from rich.console import Console

from podium.data.find_images import has_image_suffix
from podium.detection.dataset import BoxDataset, boxes_by_image, checked, class_indices
from podium.detection.formats import (
    SHORT_SPLITS,
    SPLIT_NAMES,
    ImageFiles,
    dataset_from_rows,
    export_images,
    file_names,
    id_of,
    new_folder,
    write_lines,
)
from podium.detection.orientation import upright_sizes
from podium.detection.parsing import ClassNames, read_names, read_text, short, validated
from podium.errors import DataError
from podium.yaml_text import YAML_ERRORS, parse_yaml

_LINE = "%d %.9f %.9f %.9f %.9f\n"
_MAX_SHARE = 1.01
"""Other tools round, so a share may be slightly above 1."""
_NAMES_FILES = ("obj.names", "classes.txt", "labels/classes.txt")


def _names_as_list(names: Any) -> Any:
    if not isinstance(names, dict):
        return names
    if sorted(names, key=str) != sorted(range(len(names)), key=str):
        raise ValueError(f"expected the keys 0 to {len(names) - 1}")
    return [names[number] for number in range(len(names))]


class _Description(BaseModel):
    """data.yaml."""

    names: Annotated[ClassNames, BeforeValidator(_names_as_list)]
    nc: int | None = None
    path: str | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None


def write_yolo(dataset: BoxDataset, folder: Path, images: ImageFiles | None = None) -> None:
    dataset = checked(dataset)
    stems, names = file_names(dataset)
    folders = [SHORT_SPLITS[split] for split in dataset.images["split"]]
    # Git and archives drop empty folders, and data.yaml must not name missing ones.
    used = [name for name in SHORT_SPLITS.values() if name in folders] or [SHORT_SPLITS["train"]]
    with new_folder(folder) as draft:
        for name in used:
            (draft / "images" / name).mkdir(parents=True)
            (draft / "labels" / name).mkdir(parents=True)
        for stem, split_folder, lines in zip(stems, folders, _label_lines(dataset), strict=True):
            (draft / "labels" / split_folder / f"{stem}.txt").write_text(lines, encoding="utf-8", newline="\n")
        content = {name: f"images/{name}" for name in used} | {"names": dict(enumerate(dataset.classes))}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
        (draft / "data.yaml").write_text(text, encoding="utf-8", newline="\n")
        write_lines(draft / "obj.names", dataset.classes)
        if images is not None:
            targets = [draft / "images" / place / name for name, place in zip(names, folders, strict=True)]
            export_images(dataset, targets, images)


def _label_lines(dataset: BoxDataset) -> Iterator[str]:
    """The content of each image's label file."""
    corners, classes = dataset.corners(), class_indices(dataset)
    sizes = dataset.images[["width", "height"]].to_numpy()
    for rows, size in zip(boxes_by_image(dataset), sizes, strict=True):
        start, end = corners[rows, :2], corners[rows, 2:]
        shares = np.concatenate([(start + end) / (2 * size), (end - start) / size], axis=1).tolist()
        yield "".join(_LINE % (number, *row) for number, row in zip(classes[rows].tolist(), shares, strict=True))


def read_yolo(folder: Path, *, slug: str | None = None, console: Console | None = None) -> BoxDataset:
    """Read a folder with data.yaml; or with obj.names or classes.txt, and images/train, images/val and images/test.

    Label files are in `labels` instead of `images`, or next to the images; an image without one has no boxes. Image
    files are relative to the folder. Boxes are not cleaned.
    """
    classes, split_folders = _described(folder)
    images: list[tuple[Any, ...]] = []
    boxes: list[tuple[Any, ...]] = []
    for split, place in split_folders:
        paths = sorted(path for path in place.rglob("*") if has_image_suffix(path) and path.is_file())
        labels = _label_files(place, paths)
        for path, size in zip(paths, upright_sizes(paths, console), strict=True):
            for number, corners in _boxes_in(labels.get(path), len(classes), size):
                boxes.append((len(images), classes[number], *corners, False, False, False, False))
            image_id = id_of(path.relative_to(place).with_suffix("").as_posix())
            images.append((image_id, _relative(path, folder), *size, False, split))
    return dataset_from_rows(slug or folder.name, classes, images, boxes, folder)


def _described(folder: Path) -> tuple[list[str], list[tuple[str, Path]]]:
    """The classes, and the folder with the images of each split."""
    path = folder / "data.yaml"
    if not path.is_file():
        names = next((folder / name for name in _NAMES_FILES if (folder / name).is_file()), None)
        if names is None:
            raise DataError(f"{folder}: expected data.yaml, or class names in obj.names or classes.txt")
        split_folders = [(split, folder / "images" / name) for name, split in SPLIT_NAMES.items()]
        split_folders = [(split, place) for split, place in split_folders if place.is_dir()]
        if not split_folders:
            raise DataError(f"{folder}: expected data.yaml, or the folders images/train, images/val or images/test")
        return read_names(names), split_folders
    description = validated(_Description, _read_yaml(path), str(path))
    if description.nc not in (None, len(description.names)):
        raise DataError(f"{path}: nc: expected {len(description.names)}, the number of names, got {description.nc}")
    places = {
        name: _image_folder(path, name, value, description.path or ".")
        for name in SHORT_SPLITS.values()
        if (value := getattr(description, name))
    }
    if not places:
        raise DataError(f"{path}: expected the folder of the images of train, val or test")
    if len(set(places.values())) < len(places):
        raise DataError(f"{path}: {', '.join(places)}: expected different folders")
    return description.names, [(SPLIT_NAMES[name], place) for name, place in places.items()]


def _read_yaml(path: Path) -> Any:
    text = read_text(path)
    try:
        return parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise DataError(f"{path}{line}: not valid YAML ({error.problem})") from None
    except YAML_ERRORS as error:
        raise DataError(f"{path}: not valid YAML ({short(str(error))})") from None


def _image_folder(path: Path, name: str, value: str, root: str) -> Path:
    """Files from other machines contain their absolute paths, or `../train/images` where train/images is meant."""
    for place in (path.parent / root / value, path.parent / value, path.parent / value.removeprefix("../")):
        with suppress(OSError):  # a name that is too long
            if place.is_dir():
                return Path(os.path.normpath(place))
    raise DataError(f"{path}: {name}: expected a folder with images, got {short(value)}")


def _label_files(place: Path, images: list[Path]) -> dict[Path, Path]:
    """The label file of each image that has one."""
    parts = [*place.parts]
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    folder = Path(*parts)
    if not folder.is_dir():
        folder = place
    found = {path.relative_to(folder).with_suffix(""): path for path in sorted(folder.rglob("*.txt"))}
    labels = {path: found.pop(name) for path in images if (name := path.relative_to(place).with_suffix("")) in found}
    found.pop(Path("classes"), None)  # LabelImg writes the class names there
    if found:
        raise DataError(f"{next(iter(found.values()))} has no image in {place}; add it, or remove the label file")
    if images and not labels:
        raise DataError(f"{folder}: expected label files for the images in {place}, got none")
    return labels


def _boxes_in(path: Path | None, classes: int, size: tuple[int, int]) -> Iterator[tuple[int, list[float]]]:
    """The class and the corners of each box."""
    for number, line in enumerate(read_text(path).splitlines() if path else [], start=1):
        if not line.strip():
            continue
        try:
            label, *shares = _numbers_in(line, classes)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        center, sides = shares[:2], shares[2:]
        yield (
            int(label),
            [
                (at + sign * side / 2) * pixels
                for sign in (-1, 1)
                for at, side, pixels in zip(center, sides, size, strict=True)
            ],
        )


def _numbers_in(line: str, classes: int) -> list[float]:
    cells = line.split()
    if len(cells) != 5:
        hint = " (predictions with scores?)" if len(cells) == 6 else " (segmentation?)" if len(cells) > 6 else ""
        raise ValueError(f"expected 5 values, class cx cy width height, got {len(cells)}{hint}")
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        raise ValueError(f"expected 5 numbers, class cx cy width height, got {short(line)}") from None
    if not numbers[0].is_integer() or not 0 <= numbers[0] < classes:
        raise ValueError(f"expected a class from 0 to {classes - 1}, got {short(cells[0])}")
    for name, share, cell in zip(("cx", "cy", "width", "height"), numbers[1:], cells[1:], strict=True):
        if not 0 <= share <= _MAX_SHARE:
            raise ValueError(f"{name}: expected a share of the image from 0 to 1, got {short(cell)}")
    return numbers


def _relative(path: Path, folder: Path) -> str:
    folder = Path(os.path.normpath(folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.resolve().as_posix()
