"""What a member is trained on beside the rows and labels of its competition."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.extra import Extra, Teacher
from podium.config.loading import Member
from podium.files import digest_of
from podium.workflows.ensemble_labels import EnsembleLabels, find_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podium.data.labelled import LabelledImages
    from podium.data.metadata import Metadata
    from podium.data.target import Target
    from podium.predictions import Predictions
    from podium.workflows.prepare import Prepared

RowsOfFold = Callable[[int], "LabelledImages"]


@dataclass(frozen=True)
class MoreRows:
    member: Member
    extra: list[RowsOfFold]
    teacher: EnsembleLabels | None
    hard: EnsembleLabels | None
    digest: str
    """Changes with every image, label and weight."""

    def added_to(self, own: "LabelledImages", ids: Sequence[str], fold: int, target: "Target") -> "LabelledImages":
        """The rows of a fold, with labels by the teacher, then the extra rows, then the hard ones once more.

        `ids` are those of the first rows, which are in the competition's own table.
        """
        import numpy as np

        from podium.data.labelled import join

        images, settings = own, self.member.settings
        if self.teacher and settings.teacher:
            images = _taught(images, ids, self.teacher.oof(), settings.teacher, target)
        images = join([images, *(rows(fold) for rows in self.extra)], target)
        if self.hard and settings.hard:
            again = np.repeat(_hard_rows(ids, self.hard.oof(), target), settings.hard.times - 1)
            images = images.take(np.concatenate([np.arange(len(images.truth)), again]))
        return images


def read_more_rows(member: Member, prepared: "Prepared", runs: Path) -> MoreRows:
    """What the member's config adds, found and checked."""
    settings, extra = member.settings, list[RowsOfFold]()
    from podium.data.metadata import Metadata

    metadata = Metadata.of(settings.metadata, prepared.competition)
    teacher, hard = (
        find_labels(part.ensemble, prepared, runs) if part else None for part in (settings.teacher, settings.hard)
    )
    digests = [labels.digest_of_oof if labels else "" for labels in (teacher, hard)]
    for source in settings.extra:
        if source.pseudo is not None:
            labels = find_labels(source.pseudo, prepared, runs)
            extra.append(partial(labels.test_images, weight=source.weight, metadata=metadata))
            digests.append(labels.digest)
        else:
            images, digest = _read(source, prepared, metadata)
            extra.append(partial(_of_any_fold, images))
            digests.append(digest)
    return MoreRows(member, extra, teacher, hard, digest_of(digests))


def _of_any_fold(images: "LabelledImages", fold: int) -> "LabelledImages":
    return images


def _read(source: Extra, prepared: "Prepared", metadata: "Metadata | None") -> "tuple[LabelledImages, str]":
    """The rows of a table or a pattern, and their digest."""
    from podium.data.catalogue import read_catalogue
    from podium.data.extra import check_images, read_extra

    competition, rows = prepared.competition, prepared.rows
    own = read_catalogue(rows.paths, competition.slug).digests
    images, contents = check_images(read_extra(source, competition, rows.folder, metadata), own, competition)
    digest = hashlib.sha256(images.truth.tobytes())
    for part in (images.labels, images.weights, images.metadata):
        digest.update(b"" if part is None else part.tobytes())
    return images, digest_of([contents, digest.hexdigest()])


def _taught(
    images: "LabelledImages", ids: Sequence[str], oof: "Predictions", teacher: Teacher, target: "Target"
) -> "LabelledImages":
    """The images with a mixture of the truth and the teacher's out-of-fold predictions, where it has any."""
    import numpy as np
    import pandas as pd

    from podium.data.labelled import as_labels

    values = oof.values
    if teacher.temperature != 1:
        values = target.with_temperature(values, teacher.temperature)
    rows = pd.Index(oof.ids).get_indexer(pd.Index(ids))
    known, labels = np.flatnonzero(rows >= 0), as_labels(target, images)
    labels[known] = (1 - teacher.weight) * labels[known] + teacher.weight * values[rows[known]]
    return replace(images, labels=labels)


def _hard_rows(ids: Sequence[str], oof: "Predictions", target: "Target") -> "NDArray[np.int64]":
    """The positions of the rows for which the out-of-fold answer is wrong."""
    import numpy as np
    import pandas as pd

    from podium.data.answers import are_right

    right = are_right(oof.values, target.truth(oof.known_truth), target)
    wrong = pd.Index([name for name, is_right in zip(oof.ids, right, strict=True) if not is_right])
    return np.flatnonzero(pd.Index(ids).isin(wrong))
