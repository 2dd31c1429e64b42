"""What a detector is worth: its detections against a set's boxes, each part apart.

Each figure has one definition: AP in `average_precision`; hits, misses and false alarms in `matching`; precision,
recall, F1 and mean IoU in `figures.Counted`. Images without any box take part in all of it: what is detected there is
a false alarm, and lowers AP too.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from podium.detection.average_precision import average_precision, mean_of_known
from podium.detection.dataset import SPLITS, BoxDataset
from podium.detection.figures import ClassFigures, Counted, Figures, OnEmpty, PartFigures
from podium.detection.matching import Flags, Matches, best_threshold, match
from podium.errors import DataError

CHOOSING = "validation"
"""The part that the threshold is chosen on."""


def evaluate(
    boxset: BoxDataset, found: pd.DataFrame, threshold: float | None = None, parts: Sequence[str] = SPLITS
) -> Figures:
    """The parts that have images. Without a threshold, that of `choose_threshold` holds for all of them."""
    _check(boxset, found)
    present = [part for part in parts if (boxset.images["split"] == part).any()]
    if not present:
        raise DataError(
            f"The set {boxset.slug} has no image in {', '.join(parts)}; expected at least one to evaluate: build it"
            " again with more images, or ask for another part"
        )
    if threshold is None:
        threshold = choose_threshold(boxset, found)
    return Figures([evaluate_part(boxset, found, part, threshold) for part in present])


def choose_threshold(boxset: BoxDataset, found: pd.DataFrame) -> float:
    """The score with the best F1 over all classes of the validation part; ties go to the highest.

    Where nothing that is detected there is right it is `matching.DEFAULT_THRESHOLD`.
    """
    _check(boxset, found)
    return best_threshold(_matches(boxset, found, CHOOSING))


def evaluate_part(boxset: BoxDataset, found: pd.DataFrame, part: str, threshold: float | None = None) -> PartFigures:
    """One part alone, as after each epoch. Without a threshold it is the best for this very part."""
    _check(boxset, found)
    images, own, boxes = _of_part(boxset, found, part)
    matches = match(own, boxes, boxset.classes, images)
    if threshold is None:
        threshold = best_threshold(matches)
    worth = average_precision(own, boxes, boxset.classes, images)
    groups = boxes[boxes["group"].to_numpy(dtype=bool)]["class"].value_counts()
    return PartFigures(
        part=part,
        images=len(images),
        threshold=threshold,
        ap50=mean_of_known(worth.ap50),
        ap=mean_of_known(worth.ap),
        counted=count(matches, threshold),
        on_empty=_count_on_empty(matches, threshold, len(images) - boxes["id"].nunique()),
        classes=[
            ClassFigures(
                name, float(worth.ap50[number]), float(worth.ap[number]), count(matches, threshold, number),
                int(groups.get(name, 0)), worth.precisions[number].tolist(),
            )
            for number, name in enumerate(boxset.classes)
        ],
    )  # fmt: skip


def count(matches: Matches, threshold: float, number: int | None = None) -> Counted:
    """What counts from this score on, of all classes or of the one with this number."""
    chosen = matches.scores >= threshold
    if number is not None:
        chosen &= matches.classes == number
    hits = chosen & matches.is_hit
    return Counted(
        boxes=int(matches.boxes.sum() if number is None else matches.boxes[number]),
        detections=int(chosen.sum()),
        hits=int(hits.sum()),
        mean_iou=float(matches.ious[hits].mean()) if hits.any() else float("nan"),
    )


def _count_on_empty(matches: Matches, threshold: float, images: int) -> OnEmpty:
    alarms: Flags = (matches.scores >= threshold) & ~matches.is_hit
    here = alarms & matches.is_on_empty
    return OnEmpty(
        images=images,
        false_alarms=int(here.sum()),
        with_false_alarms=len(np.unique(matches.images[here])),
        share=float(here.sum() / alarms.sum()) if alarms.any() else float("nan"),
    )


def _matches(boxset: BoxDataset, found: pd.DataFrame, part: str) -> Matches:
    images, own, boxes = _of_part(boxset, found, part)
    return match(own, boxes, boxset.classes, images)


def _of_part(boxset: BoxDataset, found: pd.DataFrame, part: str) -> tuple[list[str], pd.DataFrame, pd.DataFrame]:
    """The ids of its images, what was found there, and the boxes there."""
    images = boxset.images["id"][boxset.images["split"] == part].tolist()
    return images, found[found["id"].isin(images)], boxset.boxes[boxset.boxes["id"].isin(images)]


def _check(boxset: BoxDataset, found: pd.DataFrame) -> None:
    for column, what, known in (("class", "class", boxset.classes), ("id", "image", boxset.images["id"])):
        strange = found[column][~found[column].isin(known)]
        if len(strange):
            raise DataError(
                f"{len(strange)} detections are of a {what} that the set {boxset.slug} lacks (first:"
                f" {strange.iloc[0]!r}); expected those of its {len(known)}: detect with the detector of this set"
            )
