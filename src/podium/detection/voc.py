"""Pascal VOC's XML, as its development kit has it.

    Annotations/NAME.xml              a file an image: its size, and its objects with their boxes
    ImageSets/Main/train.txt          and val.txt, test.txt: the names of the split's images, a line each
    JPEGImages/NAME.jpg               the images, where they were asked for
    labels.txt                        the classes in their order, a line each, which the format itself does not keep

VOC counts pixels from 1, and a box ends with its last pixel. So `xmin` is left + 1 and `xmax` is right, both rounded to
the nearest whole number, halves up; a box on which both come to nothing has the one pixel in its middle. An edge comes
back within half a pixel, that of a box thinner than a pixel within one, and a whole number as it was. When read,
`xmin` and `xmax` may be any numbers: left is xmin - 1, right is xmax. The same holds of y.

`occluded` and `truncated` are kept. `group` is VOC's `difficult`, both what an evaluation leaves out. `depiction` is
lost. An import leaves out what no list of ImageSets/Main names.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from podium.detection.dataset import BoxDataset, settled
from podium.detection.formats import (
    READ_SPLITS,
    SHORT_SPLITS,
    ImageFiles,
    boxes_of_images,
    boxset_from,
    file_names_of,
    id_of,
    new_folder,
    put_images,
)
from podium.detection.parsing import MEND, number_in, pixels_in, problem_of_classes, short, text_of
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
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TRUTHS = {"0": False, "1": True, "false": False, "true": True}


def write_voc(boxset: BoxDataset, folder: Path, images: ImageFiles | None = None) -> None:
    """Into a folder that is not there yet or is empty. Without images, put them into JPEGImages under the names of
    their XML files."""
    boxset = settled(boxset)
    stems, names = file_names_of(boxset)
    with new_folder(folder) as draft:
        for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (draft / part).mkdir(parents=True)
        sizes = boxset.images[["width", "height"]].to_numpy().tolist()
        for stem, name, size, objects in zip(stems, names, sizes, _objects_of(boxset), strict=True):
            text = _IMAGE.format(file=escape(name), width=size[0], height=size[1], objects=objects)
            (draft / "Annotations" / f"{stem}.xml").write_text(text, encoding="utf-8", newline="\n")
        for split, short_name in SHORT_SPLITS.items():
            some = [stem for stem, its in zip(stems, boxset.images["split"], strict=True) if its == split]
            _write_lines(draft / "ImageSets" / "Main" / f"{short_name}.txt", some)
        _write_lines(draft / "labels.txt", boxset.classes)
        if images is not None:
            put_images(boxset, [draft / "JPEGImages" / name for name in names], images)


def _objects_of(boxset: BoxDataset) -> Iterator[str]:
    """The objects of each image."""
    boxes = boxset.boxes
    columns = [boxes["class"].map(escape).tolist()]
    columns += [boxes[flag].tolist() for flag in ("truncated", "occluded", "group")]
    rows = list(zip(*columns, *whole_corners(boxset.corners()).T.tolist(), strict=True))
    return ("".join(_OBJECT % row for row in rows[some]) for some in boxes_of_images(boxset))


def whole_corners(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """As VOC has them: the first and the last pixel of a box, counted from 1."""
    one, other = np.floor(corners[:, :2] + 0.5), np.floor(corners[:, 2:] + 0.5)
    middle = np.floor((corners[:, :2] + corners[:, 2:]) / 2)
    is_thin = one >= other
    first, last = np.where(is_thin, middle, one) + 1, np.where(is_thin, middle + 1, other)
    return np.asarray(np.concatenate([first, last], axis=1), dtype=np.int64)


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def read_voc(folder: Path, *, slug: str | None = None) -> BoxDataset:
    """What lies in Annotations, in the splits of ImageSets/Main; all of it to train where that has no lists. Without a
    labels.txt the classes are in alphabetical order. A file of the set is seen from this folder. Boxes are as the files
    have them: clean them."""
    classes = _classes_in(folder / "labels.txt")
    known = None if classes is None else frozenset(classes)
    images: list[tuple[Any, ...]] = []
    boxes: list[tuple[Any, ...]] = []
    for split, stem in _listed(folder):
        path = folder / "Annotations" / f"{stem}.xml"
        annotation = _xml_in(path)
        try:
            for number, element in enumerate(annotation.findall("object"), start=1):
                at = f"object {number}: "
                boxes.append((len(images), *_box_in(element, known)))
            at = ""
            file = _text_in(annotation, "filename")
            size = [_size_in(annotation, f"size/{side}") for side in ("width", "height")]
        except ValueError as error:
            raise DataError(f"{path}: {at}{error}; {MEND}") from None
        images.append((id_of(stem), f"JPEGImages/{file}", *size, False, split))
    if classes is None:
        classes = sorted({box[1] for box in boxes})
    if problem := problem_of_classes(classes):
        raise DataError(f"{folder}: {problem}; name the classes in labels.txt, a line each")
    return boxset_from(slug or folder.name, classes, images, boxes, {"format": "voc", "path": str(folder)})


def _classes_in(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    classes = [line.strip() for line in text_of(path).rstrip().splitlines()]
    if problem := problem_of_classes(classes):
        raise DataError(f"{path}: {problem}; {MEND}")
    return classes


def _listed(folder: Path) -> Iterator[tuple[str, str]]:
    """The split and the name of every image."""
    annotations, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    if not annotations.is_dir():
        raise DataError(f"{folder} has no folder Annotations; expected Pascal VOC's folders: name the one they lie in")
    stems = {path.stem for path in annotations.glob("*.xml")}
    paths = [(lists / f"{name}.txt", split) for name, split in READ_SPLITS.items()]
    paths = [(path, split) for path, split in paths if path.is_file()]
    if not paths:
        yield from (("train", stem) for stem in sorted(stems))
    found: dict[str, Path] = {}
    for path, split in paths:
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            stem = line.strip()
            if not stem:
                continue
            told = f"{path}, line {number}: {short(stem)}"
            if stem in found:
                raise DataError(f"{told} is in {found[stem].name} already; expected each image once: {MEND}")
            if stem not in stems:
                raise DataError(f"{told} has no XML file of this name in Annotations; put it there, or take it out")
            found[stem] = path
            yield split, stem


def _xml_in(path: Path) -> ET.Element:
    """The text is UTF-8 by then, so no encoding hides a declaration of entities, which could be a bomb, or read files:
    a file that has one is refused before it is parsed."""
    text = text_of(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: holds a document type, which may declare entities; expected none: take it out")
    try:
        annotation = ET.fromstring(text)
    except ET.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: not XML, or cut off ({error}); {MEND}") from None
    if annotation.tag != "annotation":
        raise DataError(f"{path}: expected the element annotation: got {short(annotation.tag)}; {MEND}")
    return annotation


def _box_in(element: ET.Element, known: frozenset[str] | None) -> tuple[Any, ...]:
    """In the order of a box's columns, but its image."""
    name = _text_in(element, "name")
    if known is not None and name not in known:
        raise ValueError(f"name: {short(name)} is none of the classes in labels.txt")
    xmin, ymin, xmax, ymax = (_number_in(element, f"bndbox/{corner}") for corner in _CORNERS)
    occluded, truncated, difficult = (_truth_in(element, flag) for flag in ("occluded", "truncated", "difficult"))
    return name, xmin - 1, ymin - 1, xmax, ymax, occluded, truncated, difficult, False


def _text_in(element: ET.Element, name: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"{name}: this element is needed, and is missing or empty")
    return text


def _number_in(element: ET.Element, name: str) -> float:
    text = _text_in(element, name)
    try:
        return number_in(float(text))
    except ValueError:
        raise ValueError(f"{name}: expected a finite number: got {short(text)}") from None


def _size_in(element: ET.Element, name: str) -> int:
    number = _number_in(element, name)
    try:
        return pixels_in(number)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _truth_in(element: ET.Element, name: str) -> bool:
    text = (element.findtext(name) or "0").strip().lower()
    if text not in _TRUTHS:
        raise ValueError(f"{name}: expected 0 or 1: got {short(text)}")
    return _TRUTHS[text]
