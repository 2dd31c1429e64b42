"""Finding the images of a competition: in its data folder, or in the folders that its zips are unpacked to.

With a table, each row has the path of its image; without one, each image in the folder of a class is a row. What is
ignored is counted and named.
"""

import glob
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from podium.config.competition import Competition
from podium.config.patterns import ANY_FOLDERS, Pattern
from podium.config.reading import AS_USUAL, Reading
from podium.data.archives import unpack
from podium.data.image_paths import ImagePaths
from podium.errors import DataError, RowsError, listed
from podium.files import digest_of, with_lines
from podium.paths import cache_folder, unpack_advice

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".dcm", ".dicom", ".gif", ".heic", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".npy", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "__macosx")


@dataclass(frozen=True)
class FoundImages:
    """The images of a table's rows."""

    paths: ImagePaths
    notes: list[str] = field(default_factory=list)
    """What a user should know about the search."""
    unused: dict[str, set[bytes]] = field(default_factory=dict)
    """The names of the images in each of their folders that no row has."""


@dataclass(frozen=True)
class ClassImages:
    """The images in the folders of classes, in the order of the classes."""

    labels: list[str]
    counts: list[int]
    """The number of images of each class."""
    ids: list[str]
    images: FoundImages
    ignored: dict[str, str]
    """What else is in these folders, and what may be done about it."""


def is_image(name: str) -> bool:
    """Whether a file in a folder is meant to be an image, by its name."""
    return has_image_suffix(name) and not is_system_file(name)


def image_roots(competition: Competition, folder: Path, pattern: Pattern) -> list[Path]:
    """Where to look for images: the data folder, and if needed the folders its zips are unpacked to."""
    if pattern.folder != Path() and (folder / pattern.folder).is_dir():
        return [folder]
    roots = [folder]
    for name in competition.zips:
        archive = folder / name
        if archive.is_file():
            status = archive.stat()
            digest = digest_of([str(archive.resolve()), status.st_size, status.st_mtime_ns])
            roots.append(unpack(archive, cache_folder() / "unpacked" / f"{competition.slug}-{archive.stem}-{digest}"))
    return roots


def root_of(pattern: Pattern, roots: Sequence[Path], example: str = "") -> Path:
    """The root that has the example's image, else the first that has the pattern's folder."""
    for root in roots if example else ():
        if _has_file(root, example):
            return root
    for root in roots:
        if (root / pattern.folder).is_dir():
            return root
    raise DataError(
        f"no folder {pattern.folder} for the images {pattern.text}: looked in {', '.join(map(str, roots))};"
        f" {unpack_advice(roots[0])}give the competition's data folder with --data, or list its zips in the"
        " competition file"
    )


def _has_file(root: Path, path: str) -> bool:
    """Whether there is a file that this path may mean."""
    if (root / path).is_file() or Path(path).is_absolute():
        return (root / path).is_file()
    parts = [part if part == "**" else glob.escape(part) for part in path.split("/")]
    return next(root.glob("/".join(parts) + "*"), None) is not None


def has_image_suffix(file: str | Path) -> bool:
    return _split_suffix(str(file))[1].lower() in IMAGE_SUFFIXES


def is_image_name(name: str) -> bool:
    """Whether a file may be an image: it has the extension of one, or none."""
    suffix = _split_suffix(name)[1]
    return not suffix or suffix[1:].isdecimal() or has_image_suffix(name)


def is_system_file(path: str) -> bool:
    """Whether the file or one of its folders is hidden or was written by a file manager, such as Thumbs.db."""
    return any(part.startswith(".") or part.lower() in _SYSTEM_FILES for part in path.split("/"))


def files_below(root: Path, folder: Path | str, without: Collection[Path] = ()) -> Iterator[str]:
    """All files in a folder below the root, as relative paths with slashes, except those in some folders."""
    visited = set[tuple[int, int]]()
    for place, folders, names in os.walk(root / folder, followlinks=True):
        status = Path(place).stat()
        identity = status.st_dev, status.st_ino
        if Path(place) in without or identity in visited:  # a link may lead back to a folder above
            folders.clear()
            continue
        visited.add(identity)
        folders.sort()
        relative = Path(place).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        yield from (prefix + name for name in sorted(names))


def unused_files(found: Sequence[FoundImages], others: Collection[Path]) -> list[str]:
    """Images beside those of some tables, in none of them. The folders `others` have images of other tables."""
    unused: dict[str, set[bytes]] = {}
    for images in found:
        for folder, names in images.unused.items():
            if not any(other in (Path(folder), *Path(folder).parents) for other in others):
                unused.setdefault(folder, set()).update(names)
    for paths in (images.paths for images in found if unused):
        for folder, rows in paths.by_folder():
            if folder in unused:
                unused[folder].difference_update(paths.names[rows].tolist())
    return sorted(
        os.path.join(folder, os.fsdecode(name))  # noqa: PTH118  # creating a Path takes several times as long
        for folder, names in unused.items()
        for name in names
    )


def describe_unused(files: Sequence[str]) -> list[str]:
    return [f"{len(files):,} images are in no table: {listed(files)}"] if files else []


# The images of a table


def find_images(
    files: Iterator[str], pattern: Pattern, roots: Sequence[Path], table: Path, reading: Reading = AS_USUAL
) -> FoundImages:
    """The images of a table's rows, given the path that the pattern has for each row."""
    first = [*islice(files, 1)]
    root = root_of(pattern, roots, *first)
    every = chain(first, files)
    search = _Search(pattern, root, table)
    paths = _find_nested(list(every), search) if pattern.is_nested else _find_in_folders(every, search)
    if reading.files:
        _find_other_channels(paths, search, reading)
    search.raise_problems()
    return FoundImages(paths.read_as(reading), search.notes(), search.unused)


@dataclass
class _Search:
    """What happens to the rows whose path is not exactly that of a file."""

    pattern: Pattern
    root: Path
    table: Path
    missing: dict[int, str] = field(default_factory=dict)
    """The path of each row without an image."""
    ambiguous: dict[int, str] = field(default_factory=dict)
    """The files that may be meant, for each row with more than one."""
    suffixes: Counter[str] = field(default_factory=Counter)
    unused: dict[str, set[bytes]] = field(default_factory=dict)

    def choose(self, row: int, path: str, candidates: Sequence[str]) -> str:
        """The only candidate; if there is none or several, the path, and a problem is noted."""
        if len(candidates) == 1:
            if not candidates[0].endswith(path.rpartition("/")[2]):
                self.suffixes[_split_suffix(candidates[0])[1]] += 1
            return candidates[0]
        if candidates:
            self.ambiguous[row] = " and ".join(candidates)
        else:
            self.missing[row] = path
        return path

    def note_unused(self, folder: str, names: Iterable[bytes]) -> None:
        texts = ((name, os.fsdecode(name)) for name in names)
        images = {name for name, text in texts if has_image_suffix(text) and text[0] != "."}
        if images:
            self.unused.setdefault(folder, set()).update(images)

    def notes(self) -> list[str]:
        taken = ", ".join(f"{suffix} for {count:,} ids" for suffix, count in self.suffixes.most_common())
        return [f"images {self.pattern.text}: added the extension {taken}"] if taken else []

    def raise_problems(self) -> None:
        if self.missing:
            raise RowsError(
                f"{len(self.missing):,} images listed in {self.table} do not exist in {self.root}:"
                f" {with_lines(self.table, self.missing)}{self._hint()}",
                self.table, "there is no such file", self.missing,
            )  # fmt: skip
        if self.ambiguous:
            raise RowsError(
                f"{len(self.ambiguous):,} ids in {self.table} fit several files:"
                f" {with_lines(self.table, self.ambiguous)}; make the pattern {self.pattern.text} exact, for example"
                " with an extension, or remove files",
                self.table, "several files fit", self.ambiguous,
            )  # fmt: skip

    def _hint(self) -> str:
        """What the folder of the first missing image contains instead."""
        folder = (self.root / self.missing[min(self.missing)].partition(ANY_FOLDERS)[0]).parent
        name = _below(self.root, folder)
        if not folder.is_dir():
            return f"; there is no folder {name}"
        unused = self.unused.get(str(folder))
        return f"; {name} contains {os.fsdecode(min(unused))}, for example" if unused else ""


def _find_in_folders(files: Iterable[str], search: _Search) -> ImagePaths:
    paths, complete = ImagePaths.of(files, search.root), dict[int, str]()
    for folder, rows in paths.by_folder():
        present, names = _names_in(Path(folder)), paths.names[rows].tolist()
        absent = {row: os.fsdecode(name) for row, name in zip(rows.tolist(), names, strict=True) if name not in present}
        by_stem = _by_stem(map(os.fsdecode, present)) if absent and search.pattern.ends_with_field else {}
        prefix = "" if Path(folder) == search.root else f"{_below(search.root, Path(folder))}/"
        for row, name in absent.items():
            candidates = [prefix + found for found in by_stem.get(name, [])]
            complete[row] = search.choose(row, prefix + name, candidates).removeprefix(prefix)
        search.note_unused(folder, present.difference(names, (os.fsencode(complete[row]) for row in absent)))
    return paths.renamed(complete)


def _find_nested(files: Sequence[str], search: _Search) -> ImagePaths:
    trees: dict[str, _Tree] = {}
    chosen = []
    for row, file in enumerate(files):
        before, _, after = file.partition(ANY_FOLDERS)
        if before not in trees:
            trees[before] = _Tree(files_below(search.root, before))
        chosen.append(
            search.choose(row, file, trees[before].ending_with(after, any_suffix=search.pattern.ends_with_field))
        )
    for unused in {file for tree in trees.values() for file in tree.files}.difference(chosen):
        place = search.root / unused
        search.note_unused(str(place.parent), [os.fsencode(place.name)])
    return ImagePaths.of(chosen, search.root)


def _find_other_channels(paths: ImagePaths, search: _Search, reading: Reading) -> None:
    """The files of an image after the first belong to it, and have to exist."""
    for folder, rows in paths.by_folder():
        unused = search.unused.get(folder, set())
        for row in set(rows.tolist()).difference(search.missing, search.ambiguous):
            for file in reading.files_of(paths.text(row))[1:]:
                unused.discard(os.fsencode(os.path.basename(file)))  # noqa: PTH119  # creating a Path takes several times as long
                if not os.path.isfile(file):  # noqa: PTH113  # likewise
                    search.missing.setdefault(row, _below(search.root, Path(file)))


class _Tree:
    """Files by the end of their path, with the extension or without it."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = [file for file in files if not is_system_file(file)]
        self._by_end: dict[int, tuple[dict[str, list[str]], dict[str, list[str]]]] = {}
        """For each number of folders that the end includes: by the end, and by the end without extension."""

    def ending_with(self, end: str, *, any_suffix: bool) -> list[str]:
        folders = end.count("/")
        if folders not in self._by_end:
            ends: dict[str, list[str]] = defaultdict(list)
            for file in self.files:
                ends["/".join(file.rsplit("/", folders + 1)[-folders - 1 :])].append(file)
            stems = {stem: [file for full in found for file in ends[full]] for stem, found in _by_stem(ends).items()}
            self._by_end[folders] = ends, stems
        ends, stems = self._by_end[folders]
        return ends.get(end) or (stems.get(end, []) if any_suffix else [])


def _by_stem(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of images, in order, by their name without extension."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        if has_image_suffix(name):
            found[_split_suffix(name)[0]].append(name)
    return found


def _split_suffix(name: str) -> tuple[str, str]:
    return os.path.splitext(name)  # noqa: PTH122  # creating a Path takes several times as long


def _below(root: Path, folder: Path) -> str:
    """The path relative to the root, if it is below it."""
    return (folder.relative_to(root) if folder.is_relative_to(root) else folder).as_posix()


def _names_in(folder: Path) -> set[bytes]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {os.fsencode(entry.name) for entry in entries}


# The images in folders of classes


def images_of_classes(
    pattern: Pattern,
    labels: Sequence[str] | None,
    root: Path,
    without: Collection[Path] = (),
    reading: Reading = AS_USUAL,
) -> ClassImages:
    """The images that the pattern finds for these labels, or for all labels that it finds.

    `without` are folders with other images, such as those of the test.
    """
    expression, known = _regular_expression(pattern, labels), None if labels is None else set(labels)
    found, others = defaultdict[str, list[tuple[str, str]]](list), Counter[str]()
    misplaced, no_images, system = list[str](), list[str](), Counter[str]()
    for file in files_below(root, pattern.folder, without):
        match = expression.fullmatch(file)
        if is_system_file(file):
            system[file.rpartition("/")[2]] += 1
        elif match and (is_image_name(file) or not pattern.ends_with_field):
            label = match["label"]
            if known is None or label in known:
                # Several folders may contain the same file name, so the id includes them.
                found[label].append((f"{label}/{match['folders'] or ''}{match['id']}", file))
            else:
                others[label] += 1
        elif "/" in file or pattern.folder != Path():  # tables are beside the folders of classes
            (misplaced if is_image_name(file) else no_images).append(file)
    labels = sorted(found) if labels is None else list(labels)
    if empty := [label for label in labels if label not in found]:
        raise DataError(
            f"no image of the class {listed(empty)}: looked for {pattern.text} in {root}; expected one folder per class"
        )
    return ClassImages(
        labels,
        [len(found[label]) for label in labels],
        [id_ for label in labels for id_, _ in found[label]],
        FoundImages(
            ImagePaths.of((file for label in labels for _, file in found[label]), root).read_as(reading),
            [f"{system.total():,} system files are ignored: {listed(_counted(system))}"] if system else [],
        ),
        dict(_ignored(pattern, others, misplaced, no_images)),
    )


def _regular_expression(pattern: Pattern, labels: Sequence[str] | None) -> re.Pattern[str]:
    """It matches the path of an image, with the groups label, id, and folders for those of `**`."""
    is_folder = "/{label}/" in f"/{pattern.text}/"
    groups = {"id": "[^/]+", "label": "[^/]+?"}
    if labels is not None and not is_folder:
        groups["label"] = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    expression, used = "", set[str]()
    for literal, name, _ in pattern.pieces:
        expression += re.escape(literal).replace(re.escape(ANY_FOLDERS), "(?P<folders>(?:[^/]+/)*)")
        if name is not None:
            expression += f"(?P={name})" if name in used else f"(?P<{name}>{groups[name]})"
            used.add(name)
    return re.compile(expression if pattern.is_nested else f"(?P<folders>){expression}")


def _ignored(
    pattern: Pattern, others: Counter[str], misplaced: Sequence[str], no_images: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """What is ignored, and what may be done about it."""
    if others:
        yield (
            f"{others.total():,} images with a label that is not a class: {listed(_counted(others))}",
            "add the classes to the competition file",
        )
    if misplaced:
        head, _, tail = pattern.text.rpartition("/")
        nested = "" if pattern.is_nested else f", such as {head}/**/{tail} for nested folders"
        yield (
            f"{len(misplaced):,} files that {pattern.text} does not match: {listed(misplaced)}",
            f"use another pattern{nested}",
        )
    if no_images:
        yield f"{len(no_images):,} files that are not images: {listed(no_images)}", "remove them"


def _counted(names: Counter[str]) -> list[str]:
    return [f"{name} ({count:,})" for name, count in names.most_common()]
