"""A set of boxes from a download of Open Images: boxes of the classes, their images found or fetched, set upright."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from podium.data.catalogue import in_parallel, read_catalogue
from podium.data.jpeg import AS_STORED
from podium.detection.building import Built, chosen_boxes, empty_count, finished, seed_of
from podium.detection.config import DetectorSettings, OpenImagesSource
from podium.detection.dataset import CORNERS
from podium.detection.downloads import Dead, Wanted, fetch_images
from podium.detection.openimages import Tell, read_boxes, read_class_codes, wanted_codes
from podium.detection.openimages_images import (
    NOTHING_KNOWN,
    UNKNOWN,
    Address,
    KnownImage,
    addresses_of,
    ids_at_random,
    read_addresses,
    read_images,
)
from podium.detection.orientation import WAY_OF_DEGREES, stored_as, turned_boxes, write_turned
from podium.detection.places import exact_patterns, is_there, places_of
from podium.errors import DataError
from podium.progress import show_progress

TURNED = "turned"
"""The folder of the set's own that turned images are written to."""
_LONG = 50_000_000
"""Bytes of a file that take long enough to read for their progress to be shown."""


@dataclass(frozen=True)
class Making:
    """What making a set needs besides its settings. `look` is called often, and raises to stop."""

    settings: DetectorSettings
    source: OpenImagesSource
    data: Path
    folder: Path
    """The set's own."""
    console: Console
    look: Callable[[], None]

    @contextmanager
    def reading(self, paths: Sequence[Path], what: str) -> Iterator[Tell]:
        """Tells of the progress where these files are long; of whatever length, what asks to stop is heard."""
        size = sum(path.stat().st_size for path in paths if path.is_file())
        if size < _LONG:
            yield lambda done: self.look()
            return
        with show_progress(self.console, what, size) as tell:

            def told(done: int) -> None:
                self.look()
                tell(done)

            yield told


@dataclass(frozen=True)
class Chosen:
    """The boxes that stay, and what is known of their images and of the empty ones."""

    boxes: pd.DataFrame
    left_out: dict[str, int]
    bare: int
    empty: list[str]
    known: dict[str, KnownImage]

    @property
    def ids(self) -> list[str]:
        return [*self.boxes["id"].unique(), *self.empty]


def from_open_images(making: Making) -> Built:
    chosen = choose(making)
    files, dead = _files_of(making, chosen)
    boxes = chosen.boxes[chosen.boxes["id"].isin(files)]
    if boxes.empty:
        places = ", ".join(making.source.images)
        first = f" (first: {dead[0].id}: {dead[0].reason})" if dead else ""
        raise DataError(f"none of the {len(chosen.ids):,} images can be had from {making.data}/{places}{first}")
    images, boxes = _upright(making, chosen, files, boxes)
    empty = {id_ for id_ in chosen.empty if id_ in files}
    built = finished(making.settings, list(making.settings.classes), images, boxes, chosen.left_out, empty)
    return replace(built, bare=built.bare + chosen.bare, dead=dead)


def choose(making: Making) -> Chosen:
    """What the tables say; no image is looked for yet, but for empty ones that are not going to be fetched."""
    source, data = making.source, making.data
    codes = read_class_codes(data / source.classes)
    class_of = wanted_codes(making.settings.classes, codes, data / source.classes)
    with making.reading([data / source.boxes], "reading boxes") as tell:
        found = read_boxes(data / source.boxes, class_of, tell)
    if found.boxes.empty:
        names = ", ".join(name for names in making.settings.classes.values() for name in names)
        raise DataError(f"{data / source.boxes} has no box of {names} in {found.rows:,} rows; is it the right subset?")
    boxes, left_out = chosen_boxes(found.boxes, making.settings.keep)
    ids = set(boxes["id"])
    seen = set(found.boxes["id"])
    empty = _empty(making, len(ids), seen)
    known = {}
    if source.image_table is not None:
        with making.reading([data / source.image_table], "reading images") as tell:
            known = read_images(data / source.image_table, ids | set(empty), tell)
    return Chosen(boxes.reset_index(drop=True), left_out, len(seen) - len(ids), empty, known)


def _empty(making: Making, with_boxes: int, seen: Collection[str]) -> list[str]:
    """Images of the table that have no box of the classes; where nothing is fetched, such as are there."""
    source, data = making.source, making.data
    count = empty_count(making.settings, with_boxes, default=0)
    if not count or source.image_table is None:
        return []
    order = ids_at_random(data / source.image_table, seed_of(making.settings), seen)
    if source.fetch is None:
        patterns = exact_patterns(source.images, data)
        order = (id_ for id_ in order if is_there(id_, patterns, data))
    return list(islice(order, count))


def listed_addresses(making: Making, known: dict[str, KnownImage]) -> dict[str, Address]:
    paths = [making.data / name for name in making.source.urls]
    with making.reading(paths, "reading addresses") as tell:
        return read_addresses(paths, known, tell)


def _files_of(making: Making, chosen: Chosen) -> tuple[dict[str, str], list[Dead]]:
    """Each image's file, seen from the data folder, whole; and the images that cannot be had."""
    ids, patterns = set(chosen.ids), exact_patterns(making.source.images, making.data)
    files = places_of(ids, patterns, making.data)
    there = sorted(files)
    name = f"boxes-{making.settings.slug}"
    whole = read_catalogue([making.data / files[id_] for id_ in there], name, making.console).readable
    broken = {id_: files.pop(id_) for id_, is_whole in zip(there, whole, strict=True) if not is_whole}
    making.look()
    absent = sorted(ids - set(files))
    if making.source.fetch is None:
        places = ", ".join(making.source.images)
        return files, [Dead(id_, "", "no whole image" if id_ in broken else f"not in {places}") for id_ in absent]
    wanted = _wanted(making, chosen, absent, broken)
    dead = _fetched(making, wanted)
    gone = {one.id for one in dead}
    files |= {one.id: one.path.relative_to(making.data).as_posix() for one in wanted if one.id not in gone}
    return files, dead


def _wanted(making: Making, chosen: Chosen, absent: Sequence[str], broken: dict[str, str]) -> list[Wanted]:
    """What is to be fetched, and where to: a broken image into its place."""
    fetch = making.source.fetch
    assert fetch is not None
    listed = listed_addresses(making, {id_: chosen.known.get(id_, NOTHING_KNOWN) for id_ in absent}) if absent else {}
    return [
        Wanted(
            id_,
            making.data / broken.get(id_, making.source.images[0].format(id=id_)),
            addresses_of(id_, chosen.known.get(id_, NOTHING_KNOWN), listed.get(id_), fetch.addresses),
        )
        for id_ in absent
    ]


def _fetched(making: Making, wanted: Sequence[Wanted]) -> list[Dead]:
    fetch = making.source.fetch
    assert fetch is not None
    if not wanted:
        return []
    with show_progress(making.console, "fetching images", len(wanted), lambda count: f"{count:,} images") as tell:

        def told(done: int) -> None:
            making.look()
            tell(done)

        return list(fetch_images(wanted, fetch.at_once, told))


def _upright(
    making: Making, chosen: Chosen, files: dict[str, str], boxes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of a set, in pixels of images that stand upright, but for the split."""
    ids = sorted(files)
    rows, ways = [], {}
    measured = in_parallel(
        lambda id_: _set_upright(making, id_, files[id_], chosen.known), ids, "measuring images", making.console
    )
    for id_, (file, width, height, way, is_turned) in zip(ids, measured, strict=True):
        making.look()
        rows.append((id_, file, width, height, is_turned))
        ways[id_] = way
    images = pd.DataFrame(rows, columns=["id", "file", "width", "height", "turned"])
    corners = boxes[list(CORNERS)].to_numpy()
    way_of_box = boxes["id"].map(ways).to_numpy()
    for way in np.unique(way_of_box[way_of_box != AS_STORED]):
        corners[way_of_box == way] = turned_boxes(corners[way_of_box == way], int(way))
    sizes = images.set_index("id")[["width", "height"]].loc[boxes["id"]].to_numpy(dtype=np.float64)
    corners = corners * np.concatenate([sizes, sizes], axis=1)
    columns = dict(zip(CORNERS, corners.T, strict=True))
    return images.assign(split=""), boxes.assign(**columns, **{"class": boxes["class"].astype(object)})


def _set_upright(making: Making, id_: str, file: str, known: dict[str, KnownImage]) -> tuple[str, int, int, int, bool]:
    """File, width and height as it is meant to be seen, by which way of turning, and whether the file is a turned one.

    What lies on its side only by a tag of its file is written turned as well: not everything that reads it will look.
    """
    stored = stored_as(making.data / file)
    turn = known.get(id_, NOTHING_KNOWN).turn
    way = stored.way if turn == UNKNOWN else WAY_OF_DEGREES[turn]
    if way == stored.way == AS_STORED:
        return file, stored.width, stored.height, way, False
    own = f"{TURNED}/{id_}.png"
    write_turned(making.data / file, way, making.folder / own)
    return own, *stored.size_turned(way), way, True
