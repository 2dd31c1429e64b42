"""What a detector finds in anybody's images, as files."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rich.console import Console

from podium.detection.detector_run import Trained
from podium.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_THRESHOLD = 0.5
DRAWN = "drawn"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def find_in_images(
    trained: Trained, places: Sequence[Path], out: Path, threshold: float | None, draw: bool, console: Console
) -> None:
    """Write boxes.csv, coco.json and, if asked for, drawn/: of boxes from the threshold on."""
    from podium.detection.detections import write_coco_results, write_detections

    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is no folder: name another one with --out")
    images = _readable(_images_in(places, out / DRAWN), console)
    if threshold is None:
        threshold = DEFAULT_THRESHOLD if trained.threshold is None else trained.threshold
    found = trained.search(images, console)
    found = found[found["score"] >= threshold].reset_index(drop=True)
    write_detections(out / "boxes.csv", found)
    write_coco_results(out / "coco.json", found, trained.classes, list(images))
    if draw:
        for name, copy in _names_of_copies(images).items():
            _draw(images[name], found[found["id"] == name], trained.classes, out / DRAWN / copy)
    some = found["id"].nunique()
    console.print(
        f"{trained.name}: {len(found):,} box{'es' * (len(found) != 1)} of score {threshold:.2f} or more on {some:,} of"
        f" {len(images):,} images, in {out}"
    )


def _images_in(places: Sequence[Path], own: Path) -> dict[str, Path]:
    """Each by its name: within the folder that was given, or that of the file. The copies that an earlier search has
    drawn in its `own` folder are no images to search."""
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            named = {path.relative_to(place).as_posix(): path for path in inside}
            root, drawn = place.resolve(), own.resolve()
            named = {name: path for name, path in named.items() if drawn not in (root / name).parents}
            if not named:
                raise DataError(f"{place} holds no image ({', '.join(SUFFIXES)}): name a folder that does")
        elif place.is_file():
            named = {place.name: place}
        else:
            raise DataError(f"{place} is not there: name images, or folders of them")
        for name, path in named.items():
            if name in found and found[name].resolve() != path.resolve():
                raise DataError(f"two images are called {name} ({found[name]}, {path}): search them one by one")
            if not _is_text(name):  # it is to be an id in tables
                raise DataError(f"{str(path)!r}: the file's name is no UTF-8, and cannot stand in a table: rename it")
            found[name] = path
    return found


def _is_text(name: str) -> bool:
    try:
        return bool(name.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _readable(images: dict[str, Path], console: Console) -> dict[str, Path]:
    """Those that can be read; the others are told before the search, which takes long."""
    from podium.data.catalogue import unreadable

    bad = set(unreadable(list(images.values()), "found", console))
    if not bad:
        return images
    first = next(path for path in images.values() if path in bad)
    if bad.issuperset(images.values()):
        others = ", nor is any other" * (len(bad) > 1)
        raise DataError(f"{first} is not an image that can be read{others}: name images")
    console.print(f"left out, since they cannot be read: {len(bad):,} of {len(images):,} files, such as {first}")
    return {name: path for name, path in images.items() if path not in bad}


def _names_of_copies(names: Iterable[str]) -> dict[str, str]:
    """What the drawn copy of each is called: 17.jpg for 17.png, but 17.png.jpg where there is a 17.jpg too."""
    copies = {name: PurePosixPath(name).with_suffix(".jpg").as_posix() for name in names}
    count = Counter(copies.values())
    return {name: copy if count[copy] == 1 or copy == name else f"{name}.jpg" for name, copy in copies.items()}


def _draw(path: Path, boxes: "pd.DataFrame", classes: Sequence[str], target: Path) -> None:
    import cv2

    from podium.data.images import read_image
    from podium.detection.drawing import draw_boxes
    from podium.files import atomic_write

    drawn = cv2.cvtColor(draw_boxes(read_image(path), boxes, classes), cv2.COLOR_RGB2BGR)
    with atomic_write(target, fsync=False) as temporary:
        cv2.imwrite(str(temporary), drawn, [cv2.IMWRITE_JPEG_QUALITY, 92])
