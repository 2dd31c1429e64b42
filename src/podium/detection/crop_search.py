"""Which boxes the images of a competition have: by a detector, which are remembered, or out of a table."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.detection.cropped_competition import Wanted
from podium.detection.detector_run import Trained
from podium.errors import DataError
from podium.files import digest_of, write_text
from podium.paths import cache_folder
from podium.training.libraries import import_libraries

if TYPE_CHECKING:
    from podium.detection.cropping import Box

AT_A_TIME = 200
"""Images between two savings of what was found."""
_SEARCHING = 1
"""Raised whenever podium would find other boxes with the same weights."""
Found = dict[str, list["Box"]]


# By a detector.


def digest_of_search(trained: Trained) -> str:
    """Changes when it may find other boxes."""
    from podium.data.images import DECODER_VERSION

    best = trained.run.state["best"]
    return digest_of([_SEARCHING, DECODER_VERSION, trained.run.path.parent.name, best["digest"], best["image_size"]])


def search(trained: Trained, images: Mapping[str, Path], console: Console) -> Found:
    """All boxes of all classes in these images, each by the digest of its content. What was found before in the same
    content is remembered, also by a search that was broken off."""
    memory = cache_folder() / "found" / f"{trained.name}-{digest_of_search(trained)}"
    found = _remembered(memory, images)
    new = [name for name in images if name not in found]
    if new:
        known = f" ({len(found):,} were searched before)" if found else ""
        console.print(f"{trained.name}: searching {len(new):,} images{known}")
        for some in _searched(trained, {name: images[name] for name in new}, console):
            write_text(memory / f"{digest_of(sorted(some))}.json", json.dumps(some), fsync=False)
            found |= _as_boxes(some)
    return found


def _searched(
    trained: Trained, images: Mapping[str, Path], console: Console
) -> Iterator[dict[str, list[Sequence[Any]]]]:
    """What is found in so many images, and then in so many more."""
    from rich.progress import Progress

    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        shown = progress.add_task("  searching images", total=len(images))
        import_libraries()
        from podium.detection.inference import Searched, TrainedDetector
        from podium.detection.sizes import upright_sizes

        opened, names = TrainedDetector(trained.run, trained.settings, trained.classes), list(images)
        for start in range(0, len(names), AT_A_TIME):
            some = names[start : start + AT_A_TIME]
            paths = [images[name] for name in some]
            shapes = [(height, width) for width, height in upright_sizes(paths)]
            table = opened.find(Searched(some, paths, shapes), None, Console(quiet=True))
            found: dict[str, list[Sequence[Any]]] = {name: [] for name in some}
            for name, *box in table.itertuples(index=False):
                found[name].append(box)
            yield found
            progress.advance(shown, len(some))


def _remembered(memory: Path, images: Mapping[str, Path]) -> Found:
    found: Found = {}
    for path in sorted(memory.glob("*.json")):
        try:
            found |= _as_boxes(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError):  # damaged: these are searched again
            continue
    return {name: boxes for name, boxes in found.items() if name in images}


def _as_boxes(content: Mapping[str, Sequence[Sequence[Any]]]) -> Found:
    from podium.detection.cropping import Box

    return {name: [Box(*box) for box in boxes] for name, boxes in content.items()}


# Out of a table.


def classes_of_table(table: Any) -> list[str]:
    return sorted(set(table["class"]))


def boxes_of_table(table: Any, path: Path, wanted: Sequence[Wanted]) -> tuple[Found, int]:
    """Each image's boxes, by its file in the new competition; and how many images the table has besides.

    An image's name in the table is its file, or the end of its path, with or without what follows the last point:
    train/3/17.jpg, 3/17.jpg, 17.jpg or 17; or its id.
    """
    from podium.detection.cropping import Box

    named: dict[str, list[Box]] = {}
    for name, *box in table.itertuples(index=False):
        named.setdefault(str(name), []).append(Box(*box))
    files = {one.file for one in wanted}
    meant: dict[str, list[str]] = {name: [name] for name in named if name in files}
    for one in wanted:
        for name in _names_of(one):
            if name in named and name not in files and one.file not in meant.setdefault(name, []):
                meant[name].append(one.file)
    _check_names(named, meant, path, wanted)
    found: Found = {}
    for name, (file,) in meant.items():
        found.setdefault(file, []).extend(named[name])
    return found, len(named) - len(meant)


def _names_of(one: Wanted) -> Iterable[str]:
    parts = PurePosixPath(one.file).parts
    ends = ["/".join(parts[start:]) for start in range(len(parts))]
    return {one.id, *ends, *(str(PurePosixPath(end).with_suffix("")) for end in ends)}


def _check_names(
    named: Mapping[str, Any], meant: Mapping[str, Sequence[str]], path: Path, wanted: Sequence[Wanted]
) -> None:
    if not meant:
        raise DataError(
            f"{path} has boxes of other images, such as {next(iter(named))!r}; expected some of this competition's,"
            f" such as {wanted[0].file!r}: search its images, or give the table that was made of them"
        )
    for name, files in meant.items():
        if len(files) > 1:
            raise DataError(
                f"{path}: {name!r} may be {' or '.join(files[:3])}; name each image by so much of its path that it is"
                " one alone"
            )
