"""The folder that `podium detect crop` writes: what it holds, whether it is whole, and how a new one takes its place.

train/…, test_upload/…    the images, where the competition's patterns say
train.csv, …              its tables, as they were
crops.csv                 a row an image: what was cut of it, and why
crops.json                what it was made of; only a whole folder has it
competition.yaml          unless it was asked for elsewhere
"""

import csv
import shutil
from pathlib import Path
from typing import Any

from podium.detection.cropped_competition import MARK
from podium.errors import ConfigError, DataError, RunError
from podium.files import read_json

CROPS, STAMP = "crops.csv", "crops.json"
COLUMNS = ("id", "file", "cut", "class", "score", "left", "top", "right", "bottom")
FOUND, WHOLE, UNREADABLE = "found", "whole", "unreadable"
"""What `cut` says of an image: its object was found; it was not, so the image is whole; it is a copy of a file that
cannot be read."""
_OF_DESKTOPS = (".DS_Store", "Thumbs.db")


def stamp_of(place: Path) -> dict[str, Any] | None:
    """What a whole folder of this command says of itself."""
    try:
        stamp = read_json(place / STAMP)
    except RunError:
        return None
    return stamp if {"digest", "tables", FOUND, WHOLE, UNREADABLE} <= set(stamp) else None


def check_out(out: Path, data: Path) -> None:
    """Nothing but what this command has made is ever removed."""
    if out.resolve() == data.resolve():
        raise DataError(f"{out} holds the images to be cropped; name another folder with --out")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    stamp = stamp_of(out) if out.is_dir() else None
    if stamp is None:
        raise DataError(f"{out} is there, and not of podium detect crop; name a new or empty folder with --out")
    own = {CROPS, STAMP, *stamp["tables"], *_files_made(out)}
    for path in out.rglob("*"):
        is_own = path.relative_to(out).as_posix() in own or path.name in _OF_DESKTOPS or path.is_dir()
        if not is_own and not _is_our_config(path):
            raise DataError(f"{out} holds {path.name}, which podium detect crop has not made; move it elsewhere")


def is_whole(place: Path) -> bool:
    files = _files_made(place)
    return bool(files) and all((place / file).is_file() for file in files)


def _files_made(place: Path) -> list[str]:
    try:
        with (place / CROPS).open(encoding="utf-8", newline="") as file:
            return [row["file"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError):
        return []


def check_config(path: Path) -> None:
    if path.is_dir() or (path.exists() and not _is_our_config(path)):
        raise ConfigError(f"{path} is there, and not of podium detect crop; name another file with --config")


def _is_our_config(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def put(draft: Path, place: Path) -> None:
    """In the place of the folder before, which is removed only then."""
    before = place.with_name(f".before-{place.name}")
    shutil.rmtree(before, ignore_errors=True)
    if place.exists():
        place.rename(before)
    draft.rename(place)
    shutil.rmtree(before, ignore_errors=True)
