"""Making a set of boxes, unless it is made already, and handing one on in another form."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from podium.detection.config import DetectorSettings, FolderSource, OpenImagesSource
from podium.detection.loading import Detector
from podium.errors import ConfigError, DataError, RunError, StoppedError
from podium.files import digest_of, read_json, write_text
from podium.locks import locked
from podium.paths import boxes_folder, data_folder
from podium.signals import StopCondition

if TYPE_CHECKING:
    from podium.detection.building import Built

FORMS = ("yolo", "voc", "coco", "transfer")
Form = Literal["yolo", "voc", "coco", "transfer"]
SPLITS = ("train", "validation", "test")
_MAKING = 1
"""Raised whenever podium would make another set of the same files and settings."""
_FILES = ("index.json", "images.csv", "boxes.csv")


@dataclass(frozen=True)
class Where:
    data: Path
    folder: Path
    """The set's own."""

    @classmethod
    def of(cls, detector: Detector, data: Path | None, runs: Path) -> "Where":
        settings = detector.settings
        return cls(data_folder(settings.slug, data, settings.kaggle_source), boxes_folder(runs, settings.slug))


def build(detector: Detector, where: Where, console: Console, stop_condition: StopCondition, command: str) -> None:
    """Make the set, or say that nothing has changed since it was made. A set that was there stays until then."""
    began, settings = time.monotonic(), detector.settings
    with locked(where.folder):
        facts = _facts_of_tables(settings, where.data)
        made_from = _made_from(where.folder)
        if made_from and made_from.get("digest") == _digest(settings, facts, where.data):
            console.print(
                f"{where.folder}: {made_from['images']:,} images, {made_from['boxes']:,} boxes; nothing has changed"
                " since it was built"
            )
            return

        def look() -> None:
            if why := stop_condition.reason(0.0):
                raise StoppedError(f"{why}: stopped; images that were fetched stay; go on with: {command}")

        built = _built(settings, where, console, look)
        _write(built, settings, where, facts)
    for line in _told(built, settings, where, time.monotonic() - began):
        console.print(line, highlight=False, markup=False)


def _built(settings: DetectorSettings, where: Where, console: Console, look: Callable[[], None]) -> "Built":
    if isinstance(settings.source, OpenImagesSource):
        from podium.detection.openimages_build import Making, from_open_images

        return from_open_images(Making(settings, settings.source, where.data, where.folder, console, look))
    from podium.detection.building import from_folder

    return from_folder(settings, settings.source, where.data, console)


def _write(built: "Built", settings: DetectorSettings, where: Where, facts: Any) -> None:
    from dataclasses import replace

    from podium.detection.dataset import write_dataset
    from podium.detection.downloads import DEAD, write_dead

    counts = {"images": len(built.boxset.images), "boxes": len(built.boxset.boxes)}
    made_from = {"digest": _digest(settings, facts, where.data), **counts}
    write_dataset(replace(built.boxset, source=built.boxset.source | made_from), where.folder)
    if built.dead:
        write_dead(built.dead, where.folder)
    else:
        (where.folder / DEAD).unlink(missing_ok=True)
    of_the_set = set(built.boxset.images.loc[built.boxset.images["turned"], "file"])
    for path in (where.folder / "turned").glob("*.png"):
        if f"turned/{path.name}" not in of_the_set:
            path.unlink()


# Whether anything has changed.


def _made_from(folder: Path) -> dict[str, Any] | None:
    """What a whole set says it was made from."""
    if not all((folder / name).is_file() for name in _FILES):
        return None
    try:
        source = read_json(folder / _FILES[0]).get("source")
    except RunError:  # it is made anew
        return None
    return source if isinstance(source, dict) and {"digest", "images", "boxes"} <= set(source) else None


def _facts_of_tables(settings: DetectorSettings, data: Path) -> list[Any]:
    """Name, size and time of every file that says which boxes and images there are."""
    source = settings.source
    if isinstance(source, OpenImagesSource):
        names = [source.boxes, source.classes, *([source.image_table] if source.image_table else []), *source.urls]
        return _facts(data / name for name in names)
    kinds = {"yolo": ("*.txt", "*.yaml", "*.names"), "voc": ("*.xml", "*.txt"), "coco": ("*.json",)}[source.kind]
    folder = data / source.folder
    return _facts(sorted(path for kind in kinds for path in folder.rglob(kind)))


def _facts(paths: Iterable[Path]) -> list[Any]:
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()]


def _digest(settings: DetectorSettings, facts: list[Any], data: Path) -> str:
    """Also of the folders of images, whose times change where an image comes or goes."""
    folders: list[Path] = []
    if isinstance(settings.source, OpenImagesSource):
        folders = [path for name in settings.source.images for path in sorted(data.glob(str(Path(name).parent)))]
    elif isinstance(settings.source, FolderSource):
        folders = sorted(path for path in (data / settings.source.folder).rglob("*") if path.is_dir())
    times = [(str(path.relative_to(data)), path.stat().st_mtime_ns) for path in folders if path.is_dir()]
    return digest_of([_MAKING, settings.model_dump(mode="json", exclude={"data_at_kaggle"}), facts, times])


# Telling.


def _told(built: "Built", settings: DetectorSettings, where: Where, seconds: float) -> list[str]:
    images, boxes = built.boxset.images, built.boxset.boxes
    lines = [f"{where.folder}: {len(images):,} images, {len(boxes):,} boxes, in {seconds:.1f} s"]
    split_of = boxes["id"].map(images.set_index("id")["split"])
    for split in SPLITS:
        theirs = boxes.loc[split_of == split, "class"].value_counts()
        classes = ", ".join(f"{name} {theirs.get(name, 0):,}" for name in built.boxset.classes)
        count = int((images["split"] == split).sum())
        lines.append(f"  {split:<10}  {count:>7,} images, {theirs.sum():>8,} boxes: {classes}")
    empty = int((~images["id"].isin(boxes["id"])).sum())
    if empty or settings.empty_images:
        lines.append(f"  without any box: {empty:,} of these images")
    if is_turned := int(images["turned"].sum()):
        lines.append(f"  set upright: {is_turned:,} images, written to {where.folder / 'turned'}")
    if built.left_out:
        told = ", ".join(f"{count:,} {flag}" for flag, count in built.left_out.items())
        lines.append(f"  left out by keep: {told} boxes")
    lines.append(f"  cleaning: {built.cleaned}")
    if built.bare:
        lines.append(f"  left out: {built.bare:,} images none of whose boxes stayed")
    if built.dead:
        first = built.dead[0]
        lines.append(
            f"  left out: {len(built.dead):,} images that cannot be had (first: {first.id}: {first.reason});"
            f" {where.folder / 'dead.csv'} lists them"
        )
    if absent := [name for name in built.boxset.classes if name not in set(boxes["class"])]:
        lines.append(f"  note: no box of {', '.join(absent)}")
    return lines


# Handing on.


def export(detector: Detector, where: Where, target: Path, form: Form, images: str, console: Console) -> None:
    """Write the set, as it was built, in another form."""
    from podium.detection.dataset import read_dataset
    from podium.detection.formats import ImageFiles

    if _made_from(where.folder) is None:
        raise DataError(f"{where.folder} holds no set; build it first: podium detect build")
    boxset = read_dataset(where.folder)
    files = None if images == "none" else ImageFiles(images, where.data, where.folder, console)  # type: ignore[arg-type]
    if form == "yolo":
        from podium.detection.yolo import write_yolo as write
    elif form == "voc":
        from podium.detection.voc import write_voc as write
    else:
        from podium.detection.coco import write_coco as write
    write(boxset, target, files)
    with_images = {"none": ", without the images", "link": ", with links to the images"}.get(images, "")
    console.print(f"{target}: {len(boxset.images):,} images, {len(boxset.boxes):,} boxes as {form}{with_images}")


def export_transfer(detector: Detector, where: Where, target: Path, console: Console) -> None:
    """Write the list of addresses that a storage transfer service takes. It needs no image, and no set."""
    source = detector.settings.source
    if not isinstance(source, OpenImagesSource) or source.image_table is None:
        raise ConfigError("a list of addresses needs a source openimages with its table of images")
    if target.exists() and target.is_dir():
        raise DataError(f"{target} is a folder; name the file that the list is written to, such as boats.tsv")
    from podium.detection.openimages_build import Making, choose, listed_addresses
    from podium.detection.openimages_images import Address, transfer_list

    making = Making(detector.settings, source, where.data, where.folder, console, lambda: None)
    chosen = choose(making)
    listed = listed_addresses(making, chosen.known)
    addresses: dict[str, Address] = {}
    for id_ in chosen.ids:
        known = chosen.known.get(id_)
        for address in (listed.get(id_), known.original if known else None):
            if address is not None and address.size is not None and address.md5 is not None:
                addresses.setdefault(id_, address)
    if not addresses:
        raise DataError(f"{source.image_table} has no address with its size and checksum for these images")
    write_text(target, transfer_list(addresses.values()))
    lacking = len(chosen.ids) - len(addresses)
    told = f"; {lacking:,} images have no address with size and checksum" if lacking else ""
    console.print(f"{target}: {len(addresses):,} addresses{told}", highlight=False)
