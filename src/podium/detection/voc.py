"""Pascal VOC's XML format.

    Annotations/NAME.xml              one file per image: its size and its objects with their boxes
    ImageSets/Main/train.txt          and val.txt, test.txt: the names of the images of each split
    JPEGImages/NAME.jpg               the images, if exported
    labels.txt                        the classes in their order, which the format itself does not store

VOC counts pixels from 1 and a box includes its last pixel: `xmin` is left + 1 and `xmax` is right, both rounded to
whole pixels. A box thinner than that becomes one pixel wide. Reading accepts any numbers: left is xmin - 1, right is
xmax.

`occluded` and `truncated` are kept, `group` is VOC's `difficult`, `depiction` is lost. If there are lists in
ImageSets/Main, only the images in them are read.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from podium.detection.dataset import BoxDataset, boxes_by_image, checked
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
from podium.detection.parsing import (
    ClassName,
    Coordinate,
    PixelCount,
    check_names,
    read_names,
    read_text,
    short,
    validated,
)
from podium.errors import DataError

_IMAGE = """\
<annotation>
  <folder>JPEGImages</folder>
  <filename>{file}</filename>
  <size>
    <width>{width}</width>
    <height>{height}</height>
    <depth>3</depth>
  </size>
  <segmented>0</segmented>
{objects}</annotation>
"""
_OBJECT = """\
  <object>
    <name>%s</name>
    <pose>Unspecified</pose>
    <truncated>%d</truncated>
    <occluded>%d</occluded>
    <difficult>%d</difficult>
    <bndbox>
      <xmin>%d</xmin>
      <ymin>%d</ymin>
      <xmax>%d</xmax>
      <ymax>%d</ymax>
    </bndbox>
  </object>
"""


class _Size(BaseModel):
    width: PixelCount
    height: PixelCount


class _Corners(BaseModel):
    xmin: Coordinate
    ymin: Coordinate
    xmax: Coordinate
    ymax: Coordinate


class _Object(BaseModel):
    name: ClassName
    bndbox: _Corners
    occluded: bool = False
    truncated: bool = False
    difficult: bool = False

    @property
    def row(self) -> tuple[Any, ...]:
        box = self.bndbox
        corners = box.xmin - 1, box.ymin - 1, box.xmax, box.ymax
        return self.name, *corners, self.occluded, self.truncated, self.difficult, False


class _Annotation(BaseModel):
    filename: Annotated[str, Field(min_length=1)]
    size: _Size
    object: list[_Object]


def write_voc(dataset: BoxDataset, folder: Path, images: ImageFiles | None = None) -> None:
    dataset = checked(dataset)
    stems, names = file_names(dataset)
    with new_folder(folder) as draft:
        for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (draft / part).mkdir(parents=True)
        sizes = dataset.images[["width", "height"]].to_numpy().tolist()
        for stem, name, (width, height), objects in zip(stems, names, sizes, _objects(dataset), strict=True):
            text = _IMAGE.format(file=escape(name), width=width, height=height, objects=objects)
            (draft / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8", newline="\n")
        for split, short_name in SHORT_SPLITS.items():
            listed = [stem for stem, name in zip(stems, dataset.images["split"], strict=True) if name == split]
            write_lines(draft / "ImageSets" / "Main" / f"{short_name}.txt", listed)
        write_lines(draft / "labels.txt", dataset.classes)
        if images is not None:
            export_images(dataset, [draft / "JPEGImages" / name for name in names], images)


def _objects(dataset: BoxDataset) -> Iterator[str]:
    """The XML of the objects of each image."""
    columns = [
        dataset.boxes["class"].map(escape),
        *(dataset.boxes[flag] for flag in ("truncated", "occluded", "group")),
    ]
    rows = list(zip(*columns, *pixel_corners(dataset.corners()).T.tolist(), strict=True))
    return ("".join(_OBJECT % row for row in rows[part]) for part in boxes_by_image(dataset))


def pixel_corners(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first and the last pixel of each box, counted from 1."""
    start, end = np.floor(corners[:, :2] + 0.5), np.floor(corners[:, 2:] + 0.5)
    middle = np.floor((corners[:, :2] + corners[:, 2:]) / 2)
    is_thin = start >= end
    first, last = np.where(is_thin, middle, start) + 1, np.where(is_thin, middle + 1, end)
    return np.asarray(np.concatenate([first, last], axis=1), dtype=np.int64)


def read_voc(folder: Path, *, slug: str | None = None) -> BoxDataset:
    """Read a folder. Without lists in ImageSets/Main all images are for training; without labels.txt the classes are in
    alphabetical order. Image files are relative to the folder. Boxes are not cleaned."""
    labels = folder / "labels.txt"
    classes = read_names(labels) if labels.is_file() else None
    images: list[tuple[Any, ...]] = []
    boxes: list[tuple[Any, ...]] = []
    for split, stem in _listed(folder):
        path = folder / "Annotations" / f"{stem}.xml"
        annotation = validated(_Annotation, _read_xml(path), str(path))
        for number, item in enumerate(annotation.object):
            if classes is not None and item.name not in classes:
                raise DataError(f"{path}: object[{number}].name: {short(item.name)} is not in labels.txt")
            boxes.append((len(images), *item.row))
        size = annotation.size
        images.append((id_of(stem), f"JPEGImages/{annotation.filename}", size.width, size.height, False, split))
    if classes is None:
        classes = check_names(sorted({box[1] for box in boxes}), f"{folder}: classes (or list them in labels.txt)")
    return dataset_from_rows(slug or folder.name, classes, images, boxes, folder)


def _listed(folder: Path) -> Iterator[tuple[str, str]]:
    """The split and the name of every image."""
    annotations, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    if not annotations.is_dir():
        raise DataError(f"{folder}: expected the folders of Pascal VOC, got no folder Annotations")
    stems = {path.stem for path in annotations.glob("*.xml")}
    paths = [(lists / f"{name}.txt", split) for name, split in SPLIT_NAMES.items() if (lists / f"{name}.txt").is_file()]
    if not paths:
        yield from (("train", stem) for stem in sorted(stems))
    found: dict[str, Path] = {}
    for path, split in paths:
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            stem = line.strip()
            if not stem:
                continue
            if stem in found:
                raise DataError(f"{path}, line {number}: {short(stem)} is already in {found[stem].name}")
            if stem not in stems:
                raise DataError(f"{path}, line {number}: {short(stem)} has no XML file in Annotations")
            found[stem] = path
            yield split, stem


def _read_xml(path: Path) -> dict[str, Any]:
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities could expand without limit, or read other files
        raise DataError(f"{path}: expected XML without a document type declaration")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: not valid XML ({error})") from None
    if root.tag != "annotation":
        raise DataError(f"{path}: expected the element annotation, got {short(root.tag)}")
    return {**_as_dict(root), "object": [_as_dict(element) for element in root.findall("object")]}


def _as_dict(element: ET.Element, levels: int = 2) -> dict[str, Any]:
    """The first child of each name: its text, or its own children. Nothing below two levels is needed."""
    found: dict[str, Any] = {}
    for child in element if levels else ():
        found.setdefault(child.tag, _as_dict(child, levels - 1) if len(child) else (child.text or "").strip())
    return found
