"""What a detector finds in anybody's pictures, as files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from podium.errors import DataError
from podium.steps.detector import Trained

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_THRESHOLD = 0.5
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def find_in_pictures(
    trained: Trained, places: Sequence[Path], out: Path, threshold: float | None, draw: bool, console: Console
) -> None:
    """Write boxes.csv, coco.json and, if asked for, drawn/: of boxes from the threshold on."""
    from podium.detection.found import write_coco_results, write_found

    pictures = _pictures_in(places)
    if threshold is None:
        threshold = trained.threshold or DEFAULT_THRESHOLD
    found = trained.search(pictures, console)
    found = found[found["score"] >= threshold].reset_index(drop=True)
    write_found(out / "boxes.csv", found)
    write_coco_results(out / "coco.json", found, trained.classes, list(pictures))
    if draw:
        for name, path in pictures.items():
            _draw(path, found[found["id"] == name], trained.classes, out / "drawn" / name)
    some = found["id"].nunique()
    console.print(
        f"{trained.name}: {len(found):,} box{'es' * (len(found) != 1)} of score {threshold:.2f} or more on {some:,} of"
        f" {len(pictures):,} pictures, in {out}"
    )


def _pictures_in(places: Sequence[Path]) -> dict[str, Path]:
    """Each by its name: within the folder that was given, or that of the file."""
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
            named = {path.relative_to(place).as_posix(): path for path in inside}
            if not named:
                raise DataError(f"{place} holds no picture ({', '.join(SUFFIXES)}): name a folder that does")
        elif place.is_file():
            named = {place.name: place}
        else:
            raise DataError(f"{place} is not there: name pictures, or folders of them")
        for name, path in named.items():
            if name in found and found[name].resolve() != path.resolve():
                raise DataError(f"two pictures are called {name} ({found[name]}, {path}): search them one by one")
            found[name] = path
    return found


def _draw(path: Path, boxes: "pd.DataFrame", classes: Sequence[str], target: Path) -> None:
    import cv2

    from podium.data.pictures import read_picture
    from podium.detection.drawing import draw_boxes
    from podium.files import replacing

    drawn = cv2.cvtColor(draw_boxes(read_picture(path), boxes, classes), cv2.COLOR_RGB2BGR)
    target = target.with_suffix(".jpg")
    with replacing(target, synced=False) as temporary:
        cv2.imwrite(str(temporary), drawn, [cv2.IMWRITE_JPEG_QUALITY, 92])
