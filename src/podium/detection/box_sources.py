"""Where the boxes come from to which images are cropped: a table of boxes, or a trained detector."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.problems import nearest
from podium.detection.detector_run import TrainedDetector, detect_in, find_trained
from podium.detection.loading import Detector
from podium.errors import ConfigError, DataError
from podium.files import digest_of, digest_of_file, parse_json, write_text
from podium.paths import cache_folder
from podium.progress import progress_bar

if TYPE_CHECKING:
    from podium.detection.cropping import Box

Boxes = dict[str, list["Box"]]
Contents = Mapping[str, tuple[str, Path]]
"""Digest and path of an image, by its file in the new competition."""
IMAGES_AT_A_TIME = 200
"""Number of images after which detections are saved, so that an interrupted command resumes there."""
_VERSION = 2
"""Increased when podium detects other objects with the same weights."""
_TOLERANCE = 1.0
"""Pixels by which a box of a table may exceed its image."""


@dataclass(frozen=True)
class BoxSource(ABC):
    name: str
    digest: str
    """Of everything that determines the boxes."""
    classes: list[str]

    @abstractmethod
    def find(self, ids: Mapping[str, str], contents: Contents, console: Console) -> Boxes:
        """The boxes of the images with these ids, by file; `contents` has the readable ones."""

    @abstractmethod
    def check(self, boxes: Iterable["Box"], file: str, width: int, height: int) -> None:
        """Raise an error if these boxes of an image cannot be its own."""

    def class_named(self, name: str) -> str:
        """The class of this name; without a name the only one."""
        if name in self.classes:
            return name
        if name:
            raise ConfigError(f"{self.name} has no class {name!r}{nearest(name, self.classes)}")
        if len(self.classes) > 1:
            raise ConfigError(f"{self.name} has several classes; choose one with --class{nearest('', self.classes)}")
        return self.classes[0]


def open_box_source(detector: Detector | None, table: Path | None, runs: Path) -> BoxSource:
    """The table, if there is one, else the trained detector."""
    if table is not None:
        return _open_table(table)
    assert detector is not None
    trained = find_trained(detector, runs)
    return DetectedBoxes(trained.name, _weights_digest(trained), trained.classes, trained)


# A table


@dataclass(frozen=True)
class TableBoxes(BoxSource):
    """An image is named by its file, by the end of its path with or without the suffix, such as train/3/17.jpg,
    3/17.jpg, 17.jpg or 17, or by its id."""

    boxes: Boxes
    """By these names."""

    def find(self, ids: Mapping[str, str], contents: Contents, console: Console) -> Boxes:
        matches: dict[str, list[str]] = {name: [name] for name in self.boxes if name in ids}
        for file, image_id in ids.items():
            for name in _names_of(file, image_id):
                if name in self.boxes and name not in ids:
                    matches.setdefault(name, []).append(file)
        if not matches:
            raise DataError(
                f"{self.name} has boxes of other images, such as {next(iter(self.boxes))!r}; expected images of this"
                f" competition, such as {next(iter(ids))!r}"
            )
        found: Boxes = {}
        for name, files in matches.items():
            if len(files) > 1:
                raise DataError(
                    f"{self.name}: {name!r} may be {' or '.join(files[:3])}; use enough of the path to name one image"
                )
            found.setdefault(files[0], []).extend(self.boxes[name])
        if unknown := len(self.boxes) - len(matches):
            console.print(f"{self.name}: {unknown:,} images are not in this competition")
        return found

    def check(self, boxes: Iterable["Box"], file: str, width: int, height: int) -> None:
        for box in boxes:
            if max(-box.left, -box.top, box.right - width, box.bottom - height) > _TOLERANCE:
                raise DataError(
                    f"{self.name}: {file} has {width} × {height} pixels, but a box from {box.left:g}, {box.top:g} to"
                    f" {box.right:g}, {box.bottom:g}; expected boxes of these images, upright"
                )


def _open_table(path: Path) -> TableBoxes:
    from podium.detection.cropping import Box
    from podium.detection.detections import read_detections

    table = read_detections(path)
    if not len(table):
        raise DataError(f"{path} has no boxes")
    boxes: Boxes = {}
    for image_name, *box in table.itertuples(index=False):
        boxes.setdefault(str(image_name), []).append(Box(*box))
    return TableBoxes(path.name, digest_of_file(path), sorted(set(table["class"])), boxes)


def _names_of(file: str, image_id: str) -> set[str]:
    parts = PurePosixPath(file).parts
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return {image_id, *ends, *(str(PurePosixPath(end).with_suffix("")) for end in ends)}


# A trained detector


@dataclass(frozen=True)
class DetectedBoxes(BoxSource):
    """Detections are cached for the weights and the image's content."""

    trained: TrainedDetector

    def find(self, ids: Mapping[str, str], contents: Contents, console: Console) -> Boxes:
        detected = self._detect(dict(contents.values()), console)
        return {file: detected[digest] for file, (digest, _) in contents.items()}

    def check(self, boxes: Iterable["Box"], file: str, width: int, height: int) -> None:
        """They were found in it."""

    def _detect(self, images: Mapping[str, Path], console: Console) -> Boxes:
        """All boxes in these images, by the digest of the image."""
        from podium.detection.cropping import Box

        cache = cache_folder() / "detections" / f"{self.name}-{self.digest}"
        found = {digest: boxes for digest, boxes in _read_cache(cache).items() if digest in images}
        new = [digest for digest in images if digest not in found]
        if new:
            cached = f" ({len(found):,} are cached)" if found else ""
            console.print(f"{self.name}: detecting objects in {len(new):,} images{cached}")
            with progress_bar(console, "detecting objects", len(new)) as advance:
                loaded = self.trained.load()
                for start in range(0, len(new), IMAGES_AT_A_TIME):
                    part = new[start : start + IMAGES_AT_A_TIME]
                    table = detect_in(loaded, {digest: images[digest] for digest in part}, Console(quiet=True))
                    boxes: dict[str, list[Any]] = {digest: [] for digest in part}
                    for digest, *box in table.itertuples(index=False):
                        boxes[digest].append(box)
                    write_text(cache / f"{digest_of(part)}.json", json.dumps(boxes), fsync=False)
                    found |= boxes
                    advance(len(part), None)
        return {digest: [Box(*box) for box in boxes] for digest, boxes in found.items()}


def _weights_digest(trained: TrainedDetector) -> str:
    from podium.data.images import DECODER_VERSION

    best = trained.run.best
    return digest_of([_VERSION, DECODER_VERSION, trained.run.path.parent.name, best["digest"], best["image_size"]])


def _read_cache(cache: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for path in sorted(cache.glob("*.json")):
        try:
            found |= parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError):  # damaged
            continue
    return found
