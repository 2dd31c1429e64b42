"""Which of several detectors is better: what each found on the same images, and on resamples of them.

The first one is the baseline. AP at IoU 0.5 decides; AP over 0.5 to 0.95 and the mean IoU of hits are told beside it,
and McNemar's test of the boxes that each hits from its threshold on. That takes boxes for independent of each other,
which those of one image are not quite; the resamples are of whole images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.detection.average_precision import AveragePrecision, average_precision, mean_of_known
from podium.detection.dataset import BoxDataset
from podium.detection.evaluation import count
from podium.detection.matching import Flags, Floats, Ints, Matches, match
from podium.detection.resampling import average_precision_of
from podium.errors import DataError
from podium.evaluation.statistics import ROUNDS, SEED, Comparison, Progress, decided, mcnemar, measured

AP50, AP, MEAN_IOU = METRICS = ("AP@0.5", "AP@0.5:0.95", "mean IoU of hits")
_CELLS_AT_A_TIME = 2_000_000
"""Detections times resamples that are in memory together."""


@dataclass(frozen=True, eq=False)
class Detections:
    """What one detector found on the images of a set, and the score from which on it counts."""

    found: pd.DataFrame
    threshold: float


@dataclass(frozen=True, eq=False)
class _Look:
    """What is known of a detector before anything is resampled."""

    worth: AveragePrecision
    matches: Matches
    is_counted_hit: Flags
    """Of the matches: hits from the threshold on."""
    values: list[float]
    """In the order of METRICS."""

    @classmethod
    def at(cls, boxset: BoxDataset, detections: Detections, images: Sequence[str]) -> "_Look":
        worth = average_precision(detections.found, boxset.boxes, boxset.classes, images)
        matches = match(detections.found, boxset.boxes, boxset.classes, images)
        mean_iou = count(matches, detections.threshold).mean_iou
        values = [mean_of_known(worth.ap50), mean_of_known(worth.ap), mean_iou]
        return cls(worth, matches, matches.is_hit & (matches.scores >= detections.threshold), values)

    def boxes_hit(self, boxset: BoxDataset) -> Flags:
        """Of each box that can be hit."""
        is_hit: Flags = np.zeros(len(boxset.boxes), dtype=bool)
        is_hit[self.matches.taken[self.is_counted_hit]] = True
        can_be_hit: Flags = ~boxset.boxes["group"].to_numpy(dtype=bool)
        return is_hit[can_be_hit]

    def resampled(self, times: Ints) -> list[Floats]:
        """The same values of each resample, which has each image so many times."""
        again = average_precision_of(times, self.worth.judged)
        of_hits, ious = self.matches.images[self.is_counted_hit], self.matches.ious[self.is_counted_hit]
        hits = times @ np.bincount(of_hits, minlength=times.shape[1])
        sums = times @ np.bincount(of_hits, weights=ious, minlength=times.shape[1])
        return [again.ap50, again.ap, np.where(hits > 0, sums / np.maximum(hits, 1), np.nan)]


def compare(
    boxset: BoxDataset,
    detectors: Sequence[Detections],
    *,
    rounds: int = ROUNDS,
    seed: int = SEED,
    progress: Progress = iter,
) -> Comparison:
    """All of them searched every image of the set, and found boxes on no other.

    Of METRICS one that is neither decisive nor told beside is not defined: without hits there is no mean IoU of them.
    """
    images = boxset.images["id"].tolist()
    looks = [_Look.at(boxset, one, images) for one in detectors]
    drawn = _resampled(looks, len(images), rounds, seed, progress)
    decisive, *beside = (
        measured(name, [look.values[number] for look in looks], drawn[number]) for number, name in enumerate(METRICS)
    )
    if decisive is None:
        raise DataError(
            f"these {len(images):,} images of {boxset.slug} have no boxes, or too few for an interval of {AP50};"
            " expected boxes to be found: compare on another part, or build a larger set"
        )
    hit = [look.boxes_hit(boxset) for look in looks]
    return decided(
        decisive, len(images), [mcnemar(hit[0], other) for other in hit[1:]],
        higher_is_better=True, by_mcnemar=False, beside=[one for one in beside if one],
    )  # fmt: skip


def _resampled(looks: Sequence[_Look], images: int, rounds: int, seed: int, progress: Progress) -> NDArray[np.float64]:
    """Values as (metrics, resamples, detectors), an image drawn again with replacement for every image."""
    random = np.random.default_rng(seed)
    most = max([images, *(len(judged.images) for look in looks for judged in look.worth.judged)])
    together = max(1, _CELLS_AT_A_TIME // most)
    drawn = np.full((len(METRICS), rounds, len(looks)), np.nan)
    for start in progress(range(0, rounds, together)):
        end = min(start + together, rounds)
        times = random.multinomial(images, np.full(images, 1 / images), end - start)
        for number, look in enumerate(looks):
            drawn[:, start:end, number] = look.resampled(times)
    return drawn
