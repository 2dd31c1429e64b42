"""Crop the images of a competition to their main objects, and write them as a new competition with the same rows.

The folder of the new competition holds

    train/..., test_upload/...    the images, where the competition's patterns expect them
    train.csv, ...                its tables, unchanged
    crops.csv                     one row per image: the result and the region
    crops.json                    what the folder was made from; only a complete folder has it
    competition.yaml              unless --config names another file
"""

import copy
import os
import posixpath
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.competition import Competition
from podium.config.folds import GroupedFolds, TableFolds
from podium.config.loading import load_competition
from podium.config.reading import RGB, Reading
from podium.config.yaml_file import read_yaml, to_yaml
from podium.detection.box_sources import BoxSource, open_box_source
from podium.detection.config import CORNERS, CropOptions
from podium.detection.loading import Detector
from podium.errors import ConfigError, DataError, RunError
from podium.files import digest_of, digest_of_file, read_json, read_records, write_json, write_table, write_text
from podium.locks import locked
from podium.paths import data_folder, sample_file
from podium.runs import edited_folds

if TYPE_CHECKING:
    from podium.data.table import CompetitionRows
    from podium.data.unlabelled import UnlabelledImages
    from podium.detection.cropping import Box

CONFIG_HEADER = "# Written by podium detect crop"
CROPS, STAMP = "crops.csv", "crops.json"
COLUMNS = ("id", "file", "result", "class", "score", *CORNERS)
FOUND, NOT_FOUND, UNREADABLE = "found", "not_found", "unreadable"
"""Values of `result`. Without an object the image is kept as it is; an unreadable file is copied."""
_VERSION = 2
"""Increased when podium writes other files for the same images and boxes."""
_SUFFIX = {"crop": "cropped", "blur": "blurred", "grey": "greyed", "black": "blacked"}
_DESCRIPTION = {
    "crop": "cropped to", "blur": "with a blurred background around", "grey": "with a grey background around",
    "black": "with a black background around",
}  # fmt: skip
_DESKTOP_FILES = (".DS_Store", "Thumbs.db")


@dataclass(frozen=True)
class _NewImage:
    id: str
    path: Path
    """The original image."""
    file: str
    """Relative to the new folder."""


@dataclass(frozen=True)
class _NewCompetition:
    slug: str
    images: list[_NewImage]
    tables: dict[str, Path]
    """The original tables, by their names in the new folder."""
    content: dict[str, Any]
    """Of its competition file."""


@dataclass(frozen=True)
class _Plan:
    competition: _NewCompetition
    options: CropOptions
    boxes: BoxSource
    contents: dict[str, str]
    """The digest of each readable image, by its path."""
    digest: str
    """Of everything that determines the result."""
    out: Path
    config: Path
    reading: Reading


def crop_competition(
    competition: Path,
    options: CropOptions,
    *,
    detector: Detector | None = None,
    boxes: Path | None = None,
    out: Path | None = None,
    config: Path | None = None,
    data: Path | None = None,
    runs: Path = Path("runs"),
    console: Console,
) -> Path:
    """Crop with a trained detector or a table of boxes, unless nothing has changed since the last time.

    `options.class_name` may be empty if there is only one class.
    """
    original = load_competition(competition)
    if original.reading.channels != RGB:
        raise ConfigError(f"{competition} has images of {original.reading.channels} channels; a detector takes {RGB}")
    folder = data_folder(original.slug, data, original.kaggle_source)
    out = out or Path("data") / f"{original.slug}-{_SUFFIX[options.method]}"
    config = config or out / "competition.yaml"
    _check_out(out, folder)
    _check_config(config)
    source = open_box_source(detector, boxes, runs)
    options = replace(options, class_name=source.class_named(options.class_name))
    plan = _plan(original, read_yaml(competition).content, folder, options, source, out, config, console)
    target = out.resolve() if out.is_symlink() else out
    with locked(target):
        stamp = _read_stamp(target)
        is_current = stamp is not None and stamp["digest"] == plan.digest and _is_complete(target)
        if not is_current:
            stamp = _write_folder(plan, target, console)
        assert stamp is not None
    _write_config(plan, competition)
    _copy_edited_folds(runs, original.slug, plan.competition.slug, console)
    for line in _describe(plan, stamp, is_current):
        console.print(line, highlight=False, soft_wrap=True)  # commands stay on one line
    return out


def _plan(
    original: Competition,
    content: Mapping[str, Any],
    folder: Path,
    options: CropOptions,
    source: BoxSource,
    out: Path,
    config: Path,
    console: Console,
) -> _Plan:
    from podium.data.catalogue import read_catalogue
    from podium.data.classes import with_classes
    from podium.data.image_paths import ImagePaths
    from podium.data.images import DECODER_VERSION
    from podium.data.table import check_readable, drop_unreadable, read_rows
    from podium.data.unlabelled import find_test_set

    original = with_classes(original, folder)
    rows, test = read_rows(original, folder), find_test_set(original, folder)
    paths = ImagePaths.join([rows.paths, test.paths])
    known = read_catalogue(paths, original.slug, console)
    check_readable(paths, known.readable, original)
    drop_unreadable(rows, known.readable[: len(rows.paths)], original)  # raises if a class has no image left
    new = _new_competition(original, content, folder, rows, test, _SUFFIX[options.method])
    facts = zip(map(str, paths), known.digests, known.readable, strict=True)
    contents = {path: bytes(digest).ljust(16, b"\0").hex() for path, digest, readable in facts if readable}
    tables = {name: digest_of_file(path) for name, path in new.tables.items()}
    inputs = [
        _VERSION,
        DECODER_VERSION,
        asdict(options),
        source.digest,
        new.content,
        tables,
        rows.digest,
        test.ids,
        known.digest,
    ]
    return _Plan(new, options, source, contents, digest_of(inputs), out, config, original.reading)


# The folder


def _write_folder(plan: _Plan, target: Path, console: Console) -> dict[str, Any]:
    """Write the folder under a temporary name, then replace the previous one. Returns the content of crops.json."""
    boxes = _find_boxes(plan, console)
    draft, previous = (target.with_name(f".{name}-{target.name}") for name in ("cropping", "before"))
    for folder in (draft, previous):
        shutil.rmtree(folder, ignore_errors=True)  # of a killed process
    try:
        files = [*plan.competition.tables, *(image.file for image in plan.competition.images)]
        for folder in {(draft / file).parent for file in files}:
            folder.mkdir(parents=True, exist_ok=True)
        results = list(_crop_images(plan, boxes, draft, console))
        write_table(draft / CROPS, COLUMNS, (row for row, _ in results), fsync=False)
        for name, path in plan.competition.tables.items():
            shutil.copyfile(path, draft / name)
        shares = sorted(share for row, share in results if row["result"] == FOUND)
        stamp = {
            "digest": plan.digest,
            "boxes": plan.boxes.name,
            "options": asdict(plan.options),
            **{kind: sum(row["result"] == kind for row, _ in results) for kind in (FOUND, NOT_FOUND, UNREADABLE)},
            "median_share": round(shares[len(shares) // 2], 4) if shares else None,
            "tables": sorted(plan.competition.tables),
        }
        write_json(draft / STAMP, stamp, fsync=False)
        if target.exists():
            target.rename(previous)
        draft.rename(target)
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return stamp


def _find_boxes(plan: _Plan, console: Console) -> dict[str, list["Box"]]:
    """The boxes of each image of the new competition, by its file."""
    images, contents = plan.competition.images, plan.contents
    readable = [image for image in images if str(image.path) in contents]
    return plan.boxes.find(
        {image.file: image.id for image in images},
        {image.file: (contents[str(image.path)], image.path) for image in readable},
        console,
    )


def _crop_images(
    plan: _Plan, boxes: Mapping[str, Sequence["Box"]], draft: Path, console: Console
) -> Iterable[tuple[dict[str, str], float]]:
    """Write the images. For each its row of crops.csv, and the share of the image that its region covers."""
    from podium.data.catalogue import in_parallel
    from podium.data.images import read_image
    from podium.detection import cropping

    def crop(new: _NewImage) -> tuple[dict[str, str], float]:
        row = {"id": new.id, "file": new.file}
        if str(new.path) not in plan.contents:
            shutil.copyfile(new.path, draft / new.file)
            return row | {"result": UNREADABLE}, 1.0
        image, own_boxes = read_image(new.path, plan.reading), boxes.get(new.file, [])
        height, width = image.shape[:2]
        plan.boxes.check(own_boxes, new.file, width, height)
        cropped = cropping.crop_image(image, own_boxes, plan.options)
        (draft / new.file).write_bytes(cropping.encode_image(cropped.image, Path(new.file).suffix))
        row["result"] = FOUND if cropped.box else NOT_FOUND
        if cropped.box:
            row |= {"class": cropped.box.class_name, "score": f"{cropped.box.score:.6g}"}
        left, top, right, bottom = cropped.region
        row |= dict(zip(CORNERS, map(str, cropped.region), strict=True))
        return row, (right - left) * (bottom - top) / (width * height)

    return in_parallel(crop, plan.competition.images, "cropping images", console)


def _read_stamp(folder: Path) -> dict[str, Any] | None:
    try:
        stamp = read_json(folder / STAMP)
    except RunError:
        return None
    return stamp if {"digest", "tables", FOUND, NOT_FOUND, UNREADABLE} <= set(stamp) else None


def _is_complete(folder: Path) -> bool:
    files = _written_files(folder)
    return bool(files) and all((folder / file).is_file() for file in files)


def _written_files(folder: Path) -> list[str]:
    try:
        return [row["file"] for row in read_records(folder / CROPS)]
    except (OSError, ValueError, KeyError):
        return []


def _check_out(out: Path, data: Path) -> None:
    """Only files that this command has written may be replaced."""
    if out.resolve() == data.resolve():
        raise DataError(f"{out} contains the original images; choose another --out")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    stamp = _read_stamp(out) if out.is_dir() else None
    if stamp is None:
        raise DataError(f"{out} exists and was not written by podium detect crop; choose a new or empty --out")
    own = {CROPS, STAMP, *stamp["tables"], *_written_files(out)}
    for path in out.rglob("*"):
        is_own = path.relative_to(out).as_posix() in own or path.name in _DESKTOP_FILES or path.is_dir()
        if not is_own and not _is_own_config(path):
            raise DataError(f"{out} contains {path.name}, which podium detect crop has not written; move it elsewhere")


def _check_config(path: Path) -> None:
    if path.is_dir() or (path.exists() and not _is_own_config(path)):
        raise ConfigError(f"{path} exists and was not written by podium detect crop; choose another --config")


def _is_own_config(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(CONFIG_HEADER)) == CONFIG_HEADER.encode()
    except OSError:
        return False


# The new competition


def _new_competition(
    original: Competition,
    content: Mapping[str, Any],
    folder: Path,
    rows: "CompetitionRows",
    test: "UnlabelledImages",
    suffix: str,
) -> _NewCompetition:
    from podium.data.find_images import image_roots
    from podium.data.table import read_extra

    new = copy.deepcopy(dict(content))
    for key in ("zips", "data_at_kaggle", "intensity", "pages"):  # they belong to the original images
        new.pop(key, None)
    slug = f"{original.slug}-{suffix}"
    new["slug"], new["title"] = slug, f"{original.title or original.slug}, {suffix}"
    tables: dict[str, Path] = {}
    train_roots, test_roots = (
        image_roots(original, folder, original.pattern_of(source.images)) for source in (original.train, original.test)
    )
    images = [
        *_images_of(rows.train["id"], rows.paths_of(rows.train), train_roots),
        *_images_of(test.ids, test.paths, test_roots),
    ]
    subfolders = _extra_folders([source.folder for source in original.extra])
    extra = zip(original.extra, subfolders, read_extra(original, folder), strict=True)
    for number, (source, subfolder, more) in enumerate(extra):
        new["extra"][number]["folder"] = subfolder
        for image in _images_of(more.table["id"], more.images.paths, [folder / source.folder]):
            images.append(replace(image, file=posixpath.normpath(f"{subfolder}/{image.file}")))
        if source.table is not None:
            new["extra"][number]["table"] = _add_table(source.table, folder / source.folder, tables, subfolder)
    if original.train.table is not None:
        new["train"]["table"] = _add_table(original.train.table, folder, tables)
    if original.metric_code:
        new["metric_code"] = original.metric_code  # its file is next to the original competition file
    if original.ignore:
        new["ignore"] = original.ignore  # likewise
    if isinstance(original.folds, GroupedFolds) and original.folds.groups:
        new["folds"]["groups"] = original.folds.groups
    if original.test.table is not None:
        new["test"]["table"] = _add_table(original.test.table, folder, tables)
    name = original.submission.sample
    found = PurePosixPath(name).with_name(sample_file(folder, name).name).as_posix()  # either spelling
    if (sample := _add_table(found, folder, tables)) != found:
        new.setdefault("submission", {})["sample"] = sample
    if isinstance(original.folds, TableFolds):
        new["folds"]["path"] = _add_table(original.folds.path, folder, tables)
    return _NewCompetition(slug, _unique(images), tables, new)


def _images_of(ids: Iterable[str], paths: Iterable[Path], roots: Sequence[Path]) -> Iterator[_NewImage]:
    """Each image, at the same place below the new folder as below its root."""
    for image_id, path in zip(ids, paths, strict=True):
        root = next(root for root in roots if path.is_relative_to(root))
        yield _NewImage(image_id, path, path.relative_to(root).as_posix())


def _extra_folders(folders: Sequence[str]) -> list[str]:
    """The folder of each extra source in the new folder; one outside the data folder gets a new name."""
    subfolders = [posixpath.normpath(folder) for folder in folders]
    for number, subfolder in enumerate(subfolders):
        if not _is_inside(subfolder):
            names = (f"extra-{count}" for count in range(1, len(subfolders) + 2))
            subfolders[number] = next(name for name in names if name not in subfolders)
    return subfolders


def _add_table(table: str, folder: Path, tables: dict[str, Path], subfolder: str = ".") -> str:
    """The name of a table in the new competition: unchanged if it is inside the data folder."""
    name = posixpath.normpath(table) if _is_inside(posixpath.normpath(table)) else PurePosixPath(table).name
    file = posixpath.normpath(f"{subfolder}/{name}")
    if not (folder / table).is_file():
        raise DataError(f"{folder / table}, which the competition file refers to, is missing")
    if tables.setdefault(file, folder / table) != folder / table:
        raise DataError(f"{tables[file]} and {folder / table} would both be written to {file}; rename one of them")
    return name


def _is_inside(subfolder: str) -> bool:
    return not posixpath.isabs(subfolder) and not os.path.isabs(subfolder) and subfolder.split("/")[0] != ".."  # noqa: PTH117


def _unique(images: Sequence[_NewImage]) -> list[_NewImage]:
    """Several rows may share an image."""
    found: dict[str, _NewImage] = {}
    for image in images:
        if found.setdefault(image.file, image).path != image.path:
            raise DataError(
                f"{found[image.file].path} and {image.path} would both be written to {image.file}; use patterns in the"
                " competition file that give them different names"
            )
    return list(found.values())


def _write_config(plan: _Plan, original: Path) -> None:
    what = _DESCRIPTION[plan.options.method]
    heading = (
        f"{CONFIG_HEADER} from {original.as_posix()}: each image {what} its {plan.options.class_name}"
        f" (boxes: {plan.boxes.name}), unchanged where there is none."
    )
    text = "\n".join([heading, f"#   {_train_command(plan)}", to_yaml(plan.competition.content)])
    try:
        is_current = plan.config.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        is_current = False
    if not is_current:
        write_text(plan.config, text)


def _copy_edited_folds(runs: Path, slug: str, new_slug: str, console: Console) -> None:
    """Fold files edited by the user also apply to the new competition; generated ones are the same anyway."""
    for name, text in edited_folds(runs, slug).items():
        is_own = re.fullmatch(rf"{slug}-[a-z]+-[0-9a-f]+\.csv", name)
        target = runs / "folds" / f"{new_slug}{name.removeprefix(slug)}"
        if is_own and not target.exists():
            write_text(target, text)
            console.print(f"{target}: copied the edited folds of {name}")


def _train_command(plan: _Plan) -> str:
    is_default = plan.out == Path("data") / plan.competition.slug and not os.environ.get("PODIUM_DATA")
    data = [] if is_default else ["--data", plan.out.as_posix()]
    return shlex.join(["podium", "train", "MEMBER.yaml", "--set", f"competition={plan.config.as_posix()}", *data])


def _describe(plan: _Plan, stamp: Mapping[str, Any], is_current: bool) -> list[str]:
    count = stamp[FOUND] + stamp[NOT_FOUND] + stamp[UNREADABLE]
    what = f"{_DESCRIPTION[plan.options.method]} a {plan.options.class_name}"
    share = f" (median: {stamp['median_share']:.1%} of the image)" if stamp.get("median_share") else ""
    lines = [f"{plan.out}: {count:,} images, {stamp[FOUND]:,} {what}{share}"]
    if stamp[NOT_FOUND]:
        lines.append(f"  unchanged, no box with score >= {plan.options.threshold:g}: {stamp[NOT_FOUND]:,}")
    if stamp[UNREADABLE]:
        lines.append(f"  copied, cannot be read: {stamp[UNREADABLE]:,}")
    if is_current:
        lines.append("  nothing has changed")
    return [*lines, f"train on it with: {_train_command(plan)}"]
