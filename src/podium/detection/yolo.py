"""YOLO's text, as Ultralytics and darknet have it.

    data.yaml                where the images of each split lie, and the classes
    obj.names                the classes again, a line each
    images/train/NAME.jpg    and images/val, images/test, where the set has such; only where images were asked for
    labels/train/NAME.txt    a line a box: class cx cy width height, the last four as shares of the image's sides

Shares have nine digits behind the point: a corner comes back within 0.75 billionths of the image's side, rounded to a
millionth of a pixel. The format has no flags, so they are lost, and no sizes, so an import needs the images. A
image without boxes has an empty file.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from podium.detection.dataset import BoxDataset, settled
from podium.detection.formats import (
    IMAGE_SUFFIXES,
    READ_SPLITS,
    SHORT_SPLITS,
    ImageFiles,
    boxes_of_images,
    boxset_from,
    classes_of_boxes,
    file_names_of,
    id_of,
    new_folder,
    put_images,
)
from podium.detection.parsing import MEND, problem_of_classes, short, text_of
from podium.detection.sizes import upright_sizes
from podium.errors import DataError

_FORM = "%d %.9f %.9f %.9f %.9f\n"
_ABOUT_ONE = 1.01
"""The largest share that is taken for one: other tools round."""
_NAMES_FILES = ("obj.names", "classes.txt", "labels/classes.txt")


def write_yolo(boxset: BoxDataset, folder: Path, images: ImageFiles | None = None) -> None:
    """Into a folder that is not there yet or is empty. Without images, put them into images/ under the names of their
    label files."""
    boxset = settled(boxset)
    stems, names = file_names_of(boxset)
    folders = [SHORT_SPLITS[split] for split in boxset.images["split"]]
    # An empty folder gets lost in an archive or a repository, and the set could not be read any more.
    used = [name for name in SHORT_SPLITS.values() if name in folders] or [SHORT_SPLITS["train"]]
    with new_folder(folder) as draft:
        for short_name in used:
            (draft / "images" / short_name).mkdir(parents=True)
            (draft / "labels" / short_name).mkdir(parents=True)
        for stem, place, lines in zip(stems, folders, _label_lines(boxset), strict=True):
            (draft / "labels" / place / f"{stem}.txt").write_text(lines, encoding="utf-8", newline="\n")
        described = {name: f"images/{name}" for name in used} | {"names": dict(enumerate(boxset.classes))}
        text = yaml.safe_dump(described, sort_keys=False, allow_unicode=True, width=10_000)
        (draft / "data.yaml").write_text(text, encoding="utf-8", newline="\n")
        (draft / "obj.names").write_text("\n".join([*boxset.classes, ""]), encoding="utf-8", newline="\n")
        if images is not None:
            put_images(
                boxset,
                [draft / "images" / place / name for name, place in zip(names, folders, strict=True)],
                images,
            )


def _label_lines(boxset: BoxDataset) -> Iterator[str]:
    """The text of each image's file."""
    corners, classes = boxset.corners(), classes_of_boxes(boxset)
    sizes = boxset.images[["width", "height"]].to_numpy()
    for rows, size in zip(boxes_of_images(boxset), sizes, strict=True):
        one, other = corners[rows, :2], corners[rows, 2:]
        shares = np.concatenate([(one + other) / (2 * size), (other - one) / size], axis=1).tolist()
        yield "".join(_FORM % (number, *row) for number, row in zip(classes[rows].tolist(), shares, strict=True))


def read_yolo(folder: Path, *, slug: str | None = None, console: Console | None = None) -> BoxDataset:
    """What lies in a folder with a data.yaml, or with the classes in obj.names or classes.txt and the images in
    images/train, images/val and images/test. A file of the set is seen from this folder.

    Labels lie in `labels` where the images lie in `images`, or beside them. An image without a label file has no
    boxes; its id is its name. Boxes are as the files have them: clean them.
    """
    classes, places = _described(folder)
    images: list[tuple[Any, ...]] = []
    boxes: list[tuple[Any, ...]] = []
    for split, place in places:
        paths = _images_in(place)
        labels = _labels_of(place, paths)
        for path, size in zip(paths, upright_sizes(paths, console), strict=True):
            name = id_of(path.relative_to(place).with_suffix("").as_posix())
            for number, corners in _boxes_in(labels.get(path), len(classes), size):
                boxes.append((len(images), classes[number], *corners, False, False, False, False))
            images.append((name, _seen_from(folder, path), *size, False, split))
    return boxset_from(slug or folder.name, classes, images, boxes, {"format": "yolo", "path": str(folder)})


def _described(folder: Path) -> tuple[list[str], list[tuple[str, Path]]]:
    """The classes, and the folder with the images of each split."""
    path = folder / "data.yaml"
    if not path.is_file():
        classes = _classes_in_names_file(folder)
        places = [(READ_SPLITS[name], folder / "images" / name) for name in READ_SPLITS]
        places = [(split, place) for split, place in places if place.is_dir()]
        if not places:
            raise DataError(
                f"{folder} has no data.yaml and no images/train, images/val or images/test; expected either"
            )
        return classes, places
    content = _yaml_in(path)
    classes = _classes_in_yaml(path, content)
    found = {name: _place_of(path, name, content) for name in SHORT_SPLITS.values() if content.get(name)}
    if not found:
        raise DataError(f"{path}: expected the folder of images of train, val or test: got none; {MEND}")
    if len(set(found.values())) < len(found):
        raise DataError(f"{path}: {', '.join(found)}: expected a folder each, so that no image is in two; {MEND}")
    return classes, [(READ_SPLITS[name], place) for name, place in found.items()]


def _classes_in_names_file(folder: Path) -> list[str]:
    for name in _NAMES_FILES:
        path = folder / name
        if path.is_file():
            classes = [line.strip() for line in text_of(path).rstrip().splitlines()]
            if problem := problem_of_classes(classes):
                raise DataError(f"{path}: {problem}; {MEND}")
            return classes
    raise DataError(f"{folder} has no data.yaml, obj.names or classes.txt; expected the names of the classes in one")


def _yaml_in(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.safe_load(text_of(path))
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise DataError(f"{path}{line}: not YAML ({error.problem}); {MEND}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not YAML that can be read ({short(str(error))}); {MEND}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected keys with values (train, val, names): got {short(content)}; {MEND}")
    return content


def _classes_in_yaml(path: Path, content: dict[Any, Any]) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise DataError(f"{path}: names: expected the keys 0 to {len(names) - 1}: got {short([*names])}; {MEND}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise DataError(f"{path}: names: expected the names of the classes: got {short(names)}; {MEND}")
    if problem := problem_of_classes(names):
        raise DataError(f"{path}: names: {problem}; {MEND}")
    if content.get("nc") not in (None, len(names)):
        raise DataError(f"{path}: nc: expected {len(names)}, as there are names: got {short(content['nc'])}; {MEND}")
    return names


def _place_of(path: Path, name: str, content: dict[Any, Any]) -> Path:
    """Others' files name folders from their own machine, or `../train/images` where train/images is meant."""
    value, root = content[name], content.get("path") or "."
    if not isinstance(value, str) or not isinstance(root, str):
        raise DataError(f"{path}: {name}: expected the path of a folder: got {short(value)}; {MEND}")
    for place in (
        path.parent / root / value,
        path.parent / value,
        path.parent / value.removeprefix("../"),
    ):
        with suppress(OSError):  # a name that is too long for any folder
            if place.is_dir():
                return Path(os.path.normpath(place))
    raise DataError(f"{path}: {name}: expected a folder with images: {short(value)} is none; put the images there")


def _images_in(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _labels_of(place: Path, images: list[Path]) -> dict[Path, Path]:
    """The label file of each image that has one. One without an image is an error, as is a split without any."""
    parts = [*place.parts]
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    folder = Path(*parts)
    if not folder.is_dir():
        folder = place
    found = {path.relative_to(folder).with_suffix(""): path for path in sorted(folder.rglob("*.txt"))}
    labels = {path: found.pop(name) for path in images if (name := path.relative_to(place).with_suffix("")) in found}
    found.pop(Path("classes"), None)  # LabelImg leaves the names of the classes there
    if found:
        path = next(iter(found.values()))
        raise DataError(f"{path}: no image of this name in {place}; put it there, or remove the label file")
    if images and not labels:
        raise DataError(f"{folder} has no label file for the images in {place}; expected a text file beside each")
    return labels


def _boxes_in(path: Path | None, classes: int, size: tuple[int, int]) -> Iterator[tuple[int, list[float]]]:
    """The class and the corners of each box."""
    for line, text in enumerate(text_of(path).splitlines() if path else [], start=1):
        cells = text.split()
        if not cells:
            continue
        try:
            number, shares = _class_and_shares(cells, classes)
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}; {MEND}") from None
        middle, sides = shares[:2], shares[2:]
        corners = [
            (at + sign * side / 2) * pixels
            for sign in (-1, 1)
            for at, side, pixels in zip(middle, sides, size, strict=True)
        ]
        yield number, corners


def _class_and_shares(cells: list[str], classes: int) -> tuple[int, list[float]]:
    if len(cells) != 5:
        kind = {6: ", as predictions have with their scores"}.get(
            len(cells), ", as outlines for segmentation have" if len(cells) > 6 else ""
        )
        raise ValueError(f"expected 5 values, class cx cy width height: got {len(cells)}{kind}")
    try:
        number, *shares = map(float, cells)
    except ValueError:
        raise ValueError(f"expected 5 numbers, class cx cy width height: got {short(' '.join(cells))}") from None
    if not number.is_integer() or not 0 <= number < classes:
        raise ValueError(f"class: expected a whole number from 0 to {classes - 1}: got {short(cells[0])}")
    for name, share, cell in zip(("cx", "cy", "width", "height"), shares, cells[1:], strict=True):
        if not 0 <= share <= _ABOUT_ONE:
            raise ValueError(f"{name}: expected a share of the image, from 0 to 1: got {short(cell)}")
    return int(number), shares


def _seen_from(folder: Path, path: Path) -> str:
    folder = Path(os.path.normpath(folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.resolve().as_posix()
