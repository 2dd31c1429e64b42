"""The step behind `podium detect crop`: a competition whose images show their object alone, made of another."""

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.competition import Competition
from podium.config.loading import load_competition
from podium.config.problems import nearest
from podium.config.yaml_file import read_yaml
from podium.detection.config import CropOptions
from podium.detection.crop_search import boxes_of_table, classes_of_table, digest_of_search, search
from podium.detection.cropped_competition import NewCompetition, Wanted, competition_text, new_competition
from podium.detection.cropped_folder import (
    COLUMNS,
    CROPS,
    FOUND,
    STAMP,
    UNREADABLE,
    WHOLE,
    check_config,
    check_out,
    is_whole,
    put,
    stamp_of,
)
from podium.detection.detector_run import Trained, find_trained
from podium.detection.loading import Detector
from podium.errors import ConfigError, DataError
from podium.files import digest_of, digest_of_file, write_json, write_table, write_text
from podium.locks import locked
from podium.paths import data_folder
from podium.runs import edited_folds

if TYPE_CHECKING:
    from podium.detection.crop_search import Found
    from podium.detection.cropping import Box

MADE = {"crop": "cropped", "blur": "blurred", "grey": "greyed", "black": "blacked"}
CONFIG = "competition.yaml"
CORNERS = COLUMNS[-4:]
_MAKING = 1
"""Raised whenever podium would make other files of the same images and boxes."""
_TOLERANCE = 1.0
"""Pixels that a box of a table may reach beyond its image."""


@dataclass(frozen=True)
class Asked:
    competition: Path
    detector: Detector | None
    boxes: Path | None
    """A table of boxes instead of a detector."""
    wishes: CropOptions
    """Of the class "", if the only one that there is is meant."""
    out: Path | None
    config: Path | None
    data: Path | None
    runs: Path


@dataclass(frozen=True)
class _Boxes:
    """Where boxes come from."""

    name: str
    digest: str
    classes: list[str]
    trained: Trained | None = None
    table: Any = None


@dataclass(frozen=True)
class _Plan:
    new: NewCompetition
    wishes: CropOptions
    boxes: _Boxes
    contents: dict[str, str]
    """Of each image's path the digest of its content, where it can be read."""
    digest: str
    """Of all that decides what is made."""
    out: Path
    config: Path


def crop(asked: Asked, console: Console) -> None:
    """Make it, or say that nothing has changed since it was made. What was there stays until then."""
    competition = load_competition(asked.competition)
    plan = _plan(asked, competition, console)
    place = plan.out.resolve() if plan.out.is_symlink() else plan.out
    with locked(place):
        stamp = stamp_of(place)
        has_changed = stamp is None or stamp["digest"] != plan.digest or not is_whole(place)
        if has_changed:
            stamp = _make(plan, place, console)
        assert stamp is not None
    _write_config(plan, asked)
    _take_folds_along(asked.runs, competition.slug, plan.new.slug, console)
    for line in _told(plan, stamp, has_changed):
        console.print(line, highlight=False, markup=False, soft_wrap=True)  # a command stays one line


def _plan(asked: Asked, competition: Competition, console: Console) -> _Plan:
    from podium.data.catalogue import read_catalogue
    from podium.data.images import DECODER_VERSION
    from podium.data.table import drop_unreadable, read_rows

    folder, made = data_folder(competition.slug, asked.data, competition.kaggle_source), MADE[asked.wishes.method]
    out = asked.out or Path("data") / f"{competition.slug}-{made}"
    config = asked.config or out / CONFIG
    check_out(out, folder)
    check_config(config)
    boxes = _boxes(asked)
    wishes = replace(asked.wishes, class_name=_kind(asked.wishes.class_name, boxes))
    rows = read_rows(competition, folder)
    known = read_catalogue(rows.paths, competition.slug, console)
    drop_unreadable(rows, known.readable, competition.on_bad_image)  # raises if that is not allowed
    new = new_competition(competition, read_yaml(asked.competition).content, folder, rows, made)
    of_path = zip(map(str, rows.paths), known.digests, known.readable, strict=True)
    contents = {path: bytes(content).ljust(16, b"\0").hex() for path, content, is_whole in of_path if is_whole}
    tables = {name: digest_of_file(path) for name, path in new.tables.items()}
    decides = [_MAKING, DECODER_VERSION, asdict(wishes), boxes.digest, new.content, tables, rows.digest, known.digest]
    return _Plan(new, wishes, boxes, contents, digest_of(decides), out, config)


def _boxes(asked: Asked) -> _Boxes:
    if asked.boxes is None:
        assert asked.detector is not None
        trained = find_trained(asked.detector, asked.runs)
        return _Boxes(trained.name, digest_of_search(trained), trained.classes, trained=trained)
    from podium.detection.detections import read_detections

    table = read_detections(asked.boxes)
    if not len(table):
        raise DataError(f"{asked.boxes} holds no box; expected those of this competition's images: detect again")
    return _Boxes(asked.boxes.name, digest_of_file(asked.boxes), classes_of_table(table), table=table)


def _kind(asked: str, boxes: _Boxes) -> str:
    if asked in boxes.classes:
        return asked
    if asked:
        raise ConfigError(f"{boxes.name} knows no class {asked!r}{nearest(asked, boxes.classes)}")
    if len(boxes.classes) > 1:
        raise ConfigError(f"{boxes.name} knows several classes: say with --class which one{nearest('', boxes.classes)}")
    return boxes.classes[0]


# Making.


def _make(plan: _Plan, place: Path, console: Console) -> dict[str, Any]:
    """The folder, which takes the place of the one before when it is whole; and what it says of itself."""
    found = _found(plan, console)
    draft = place.with_name(f".cropping-{place.name}")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        for folder in {(draft / file).parent for file in [*plan.new.tables, *(one.file for one in plan.new.images)]}:
            folder.mkdir(parents=True, exist_ok=True)
        made = list(_cut(plan, found, draft, console))
        write_table(draft / CROPS, COLUMNS, (row for row, _ in made), fsync=False)
        for name, path in plan.new.tables.items():
            shutil.copyfile(path, draft / name)
        stamp = _newstamp_of(plan, made)
        write_json(draft / STAMP, stamp, fsync=False)
        put(draft, place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return stamp


def _found(plan: _Plan, console: Console) -> "Found":
    """The boxes of each image of the new competition, by its file."""
    images, contents = plan.new.images, plan.contents
    if plan.boxes.trained is None:
        found, others = boxes_of_table(plan.boxes.table, Path(plan.boxes.name), images)
        if others:
            console.print(f"{plan.boxes.name}: {others:,} images are none of this competition's")
        return found
    content_of = {one.file: contents[str(one.path)] for one in images if str(one.path) in contents}
    path_of = {contents[str(one.path)]: one.path for one in images if str(one.path) in contents}
    found = search(plan.boxes.trained, path_of, console)
    return {file: found[content] for file, content in content_of.items()}


def _cut(plan: _Plan, found: "Found", draft: Path, console: Console) -> Iterable[tuple[dict[str, str], float]]:
    """Writes the images; of each its row of the table, and the share of it that is its object's place."""
    from podium.data.catalogue import in_parallel
    from podium.data.images import read_image
    from podium.detection.cropping import crop_image, encoded

    def cut(one: Wanted) -> tuple[dict[str, str], float]:
        row = {"id": one.id, "file": one.file}
        if str(one.path) not in plan.contents:
            shutil.copyfile(one.path, draft / one.file)
            return row | {"cut": UNREADABLE}, 1.0
        image, boxes = read_image(one.path), found.get(one.file, [])
        height, width = image.shape[:2]
        if plan.boxes.trained is None:
            _check_corners(boxes, one.file, width, height, plan.boxes.name)
        made = crop_image(image, boxes, plan.wishes)
        (draft / one.file).write_bytes(encoded(made.image, Path(one.file).suffix))
        row |= {"cut": FOUND, "class": made.box.kind, "score": f"{made.box.score:.6g}"} if made.box else {"cut": WHOLE}
        left, top, right, bottom = made.place
        row |= dict(zip(CORNERS, map(str, made.place), strict=True))
        return row, (right - left) * (bottom - top) / (width * height)

    return in_parallel(cut, plan.new.images, "cutting images", console)


def _check_corners(boxes: "Iterable[Box]", file: str, width: int, height: int, table: str) -> None:
    for box in boxes:
        if max(-box.left, -box.top, box.right - width, box.bottom - height) > _TOLERANCE:
            raise DataError(
                f"{table} has a box from {box.left:g}, {box.top:g} to {box.right:g}, {box.bottom:g} for {file}, which"
                f" has {width} × {height} pixels; expected boxes of these very images, upright: search them again"
            )


def _newstamp_of(plan: _Plan, made: Sequence[tuple[dict[str, str], float]]) -> dict[str, Any]:
    shares = sorted(share for row, share in made if row["cut"] == FOUND)
    return {
        "digest": plan.digest,
        "boxes": plan.boxes.name,
        "wishes": asdict(plan.wishes),
        **{cut: sum(row["cut"] == cut for row, _ in made) for cut in (FOUND, WHOLE, UNREADABLE)},
        "median_share": round(shares[len(shares) // 2], 4) if shares else None,
        "tables": sorted(plan.new.tables),
    }


# What goes with the images.


def _write_config(plan: _Plan, asked: Asked) -> None:
    text = competition_text(plan.new, asked.competition, _what(plan), [_training(plan)])
    try:
        is_there = plan.config.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        is_there = False
    if not is_there:
        write_text(plan.config, text)


def _take_folds_along(runs: Path, slug: str, new_slug: str, console: Console) -> None:
    """Tables of folds that a person has changed hold for the same rows here too; others come out the same anyway."""
    for name, text in edited_folds(runs, slug).items():
        is_its_own = re.fullmatch(rf"{slug}-[a-z]+-[0-9a-f]+\.csv", name)
        copy = runs / "folds" / f"{new_slug}{name.removeprefix(slug)}"
        if is_its_own and not copy.exists():
            write_text(copy, text)
            console.print(f"{copy}: the folds of {name}, as a person has changed them")


# Telling.


_DONE = {"crop": "cut to", "blur": "blurred around", "grey": "made grey around", "black": "made black around"}


def _what(plan: _Plan) -> str:
    how = _DONE[plan.wishes.method]
    return f"each image {how} its {plan.wishes.class_name}, as {plan.boxes.name} has it, whole where there is none"


def _training(plan: _Plan) -> str:
    """The shortest command that trains on it."""
    is_found = plan.out == Path("data") / plan.new.slug and not os.environ.get("PODIUM_DATA")
    data = [] if is_found else ["--data", plan.out.as_posix()]
    command = ["podium", "train", "MEMBER.yaml", "--set", f"competition={plan.config.as_posix()}", *data]
    return shlex.join(command)


def _told(plan: _Plan, stamp: dict[str, Any], has_changed: bool) -> list[str]:
    count = stamp[FOUND] + stamp[WHOLE] + stamp[UNREADABLE]
    lines = [
        f"{plan.out}: {count:,} images, {stamp[FOUND]:,} of them {_DONE[plan.wishes.method]} a {plan.wishes.class_name}"
    ]
    if stamp.get("median_share"):
        lines[0] += f", which is {stamp['median_share']:.1%} of the image in the median"
    if stamp[WHOLE]:
        lines.append(f"  whole, since none was found from score {plan.wishes.threshold:g} on: {stamp[WHOLE]:,}")
    if stamp[UNREADABLE]:
        lines.append(f"  copied, since they cannot be read: {stamp[UNREADABLE]:,}")
    if not has_changed:
        lines.append("  nothing has changed since it was made")
    return [*lines, f"train on it with: {_training(plan)}"]
