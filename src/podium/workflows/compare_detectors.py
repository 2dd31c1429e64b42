"""Detectors held against each other by what they found on the same images of one set of boxes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podium.errors import DataError, RunError
from podium.paths import boxes_folder
from podium.workflows.comparison import Judgement, notes_on_left_out
from podium.workflows.detector_candidates import DetectorContender, Search

if TYPE_CHECKING:
    from podium.detection.dataset import BoxDataset
    from podium.evaluation.statistics import Comparison, Progress

PARTS = ("test", "validation")
"""On which detectors can be compared; on what they learned from there is nothing to prove."""
SAME = 1e-6
"""Differences of an AP below that are rounding."""


def judge_detectors(
    contenders: Sequence[DetectorContender], runs: Path, part: str | None, progress: "Progress"
) -> Judgement:
    """On the part that is asked for; else on the test part where all have been evaluated on it with their present
    weights, else on the validation part, which training searched."""
    from podium.detection.comparing import AP50, Detections, compare
    from podium.detection.dataset import only, read_dataset
    from podium.detection.detections import read_detections

    folder = _set_of(contenders, runs)
    boxset = read_dataset(folder)
    _same_classes(contenders, boxset)
    part, notes = _part(contenders, part)
    searches = [one.searched(part) for one in contenders]
    common, left_out = _common_images(contenders, searches, part, boxset)
    boxset = only(boxset, common)
    tables = [read_detections(search.file, boxset.classes) for search in searches]
    detections = [
        Detections(table[table["id"].isin(common)], search.threshold)
        for table, search in zip(tables, searches, strict=True)
    ]
    result = compare(boxset, detections, progress=progress)
    notes += notes_on_left_out(contenders, left_out, f"{len(common):,} images of the {part} part that")
    notes += _notes_on_the_set(contenders, folder)
    notes += _notes_on_old_figures(contenders, searches, left_out, result)
    notes += _notes_on_boxes(boxset, result)
    thresholds = ", ".join(f"{one.letter} {its.threshold:.3f}" for one, its in zip(contenders, searches, strict=True))
    return Judgement(
        result=result,
        metric=AP50,
        higher_is_better=True,
        unit=f"points of {AP50}",
        is_share=True,
        drawn="images",
        where=f"the {part} part",
        question=f"boxes that are hit, at IoU 0.5 and from each run's threshold of the score on ({thresholds})",
        right="hit",
        wrong="missed",
        alone="boxes are hit by one of the two alone",
        by_mcnemar=False,
        notes=notes,
        more={"part": part, "set": str(folder), "thresholds": [search.threshold for search in searches]},
    )


def _set_of(contenders: Sequence[DetectorContender], runs: Path) -> Path:
    """Where the set lies: beside the first run, else in the folder of runs."""
    slugs = list(dict.fromkeys(one.slug for one in contenders))
    if len(slugs) > 1:
        raise RunError(
            f"these are detectors of different sets of boxes ({', '.join(slugs)}); expected one set: compare detectors"
            " of one slug"
        )
    places = [boxes_folder(root, slugs[0]) for root in (contenders[0].run.path.parent.parent, runs)]
    for place in places:
        if place.is_dir():
            return place
    listed = " or ".join(dict.fromkeys(map(str, places)))
    raise DataError(
        f"there is no set of boxes in {listed}: build it with podium detect build, as it was for these runs"
    )


def _same_classes(contenders: Sequence[DetectorContender], boxset: "BoxDataset") -> None:
    first = contenders[0]
    for one in contenders[1:]:
        if strange := sorted(set(one.classes) ^ set(first.classes)):
            raise RunError(
                f"{first.path} and {one.path} find other classes ({len(first.classes)} and {len(one.classes)}; only in"
                f" one of them: {_few(strange)}); expected detectors of the same classes"
            )
    if strange := sorted(set(boxset.classes) ^ set(first.classes)):
        raise RunError(
            f"the set {boxset.slug} has other classes now than when these runs were trained (only then or now:"
            f" {_few(strange)}); build it again as it was, or train again"
        )


def _part(contenders: Sequence[DetectorContender], asked: str | None) -> tuple[str, list[str]]:
    """And what has to be known of it."""
    flattering = "weights and thresholds were chosen there, so its figures flatter every run"
    reasons: dict[str, list[str]] = {}
    for one in contenders:
        if why := one.why_not_on_test():
            reasons.setdefault(why, []).append(one.letter)
    told = "; ".join(f"{' and '.join(letters)} {why}" for why, letters in reasons.items())
    if asked == "test" and reasons:
        raise RunError(f"these runs cannot be compared on the test part: {told}; or compare with --part validation")
    if asked == "validation":
        return asked, [f"compared is the validation part: {flattering}"]
    if reasons:
        return "validation", [f"compared is the validation part ({told}): {flattering}"]
    return "test", []


def _common_images(
    contenders: Sequence[DetectorContender], searches: Sequence[Search], part: str, boxset: "BoxDataset"
) -> tuple[set[str], list[int]]:
    """The ids of those that all have searched, in the part that they had when each run began, and that the set still
    has; and how many more each has searched."""
    from podium.detection.dataset import read_images

    looked: list[set[str]] = []
    for one, search in zip(contenders, searches, strict=True):
        images = read_images(one.run.folds)
        looked.append(set(images["id"][images["split"] == part][: search.images]))
    common = set(boxset.images["id"]).intersection(*looked)
    if not common:
        counted = ", ".join(f"{one.letter} {len(ids):,}" for one, ids in zip(contenders, looked, strict=True))
        raise DataError(
            f"no image of the {part} part was searched by all of these runs ({counted}) and is in the set"
            f" {boxset.slug} now; expected images in common: train and evaluate them on one set"
        )
    return common, [len(ids - common) for ids in looked]


def _notes_on_the_set(contenders: Sequence[DetectorContender], folder: Path) -> list[str]:
    """Where it was built again between two trainings."""
    first = contenders[0]
    others = [
        one.letter
        for one in contenders[1:]
        if any(one.made_of.get(key) != first.made_of.get(key) for key in ("rows", "folds"))
    ]
    if not others:
        return []
    return [
        f"{', '.join(others)} learned from the set as it was built another time than for {first.letter}; all are judged"
        f" by the boxes that are in {folder} now"
    ]


def _notes_on_old_figures(
    contenders: Sequence[DetectorContender], searches: Sequence[Search], left_out: Sequence[int], result: "Comparison"
) -> list[str]:
    """On the same images a run has the AP that was told when it searched them, or their boxes were changed since."""
    notes = []
    for one, search, left, score in zip(contenders, searches, left_out, result.scores, strict=True):
        if not left and search.ap50 is not None and abs(search.ap50 - score.value) > SAME:
            notes.append(
                f"the set has other boxes now than when {one.letter} searched these images: its AP@0.5 was"
                f" {search.ap50:.4f} then"
            )
    return notes


def _notes_on_boxes(boxset: "BoxDataset", result: "Comparison") -> list[str]:
    from podium.detection.comparing import METRICS

    there = set(boxset.boxes["class"][~boxset.boxes["group"]])
    missing = [name for name in boxset.classes if name not in there]
    told = {one.name for one in result.beside}
    notes = [f"no box of {_few(missing)} on these images: AP is the mean over the other classes"] if missing else []
    notes += [f"no {name}: a run has none from its threshold on" for name in METRICS[1:] if name not in told]
    return notes


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
