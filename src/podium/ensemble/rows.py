"""The rows that a blend is fitted to, or predicts: the members' predictions, and metadata."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.competition import Competition
from podium.config.metadata import MetadataChoice
from podium.data.metadata import PREFIX, Metadata
from podium.data.target import Floats
from podium.errors import RunError, listed
from podium.evaluation.statistics import stratified_folds
from podium.predictions import Predictions, align


@dataclass(frozen=True, eq=False)
class BlendRows:
    """Indexed like the array of predictions: `rows[members]` or `rows[:, rows]`."""

    predictions: Floats
    """As (members, rows, columns)."""
    metadata: NDArray[np.float32] | None = None
    """As (rows, columns): a number, or the position of a category; NaN where there is none."""
    sizes: Sequence[int] = ()
    """The number of categories of each column of metadata, 0 for numbers."""
    groups: NDArray[np.str_] | None = None
    """Rows of one group are never in both parts, if a blend is fitted on some rows and scored on others."""

    @classmethod
    def of(cls, members: Sequence[Predictions], columns: Metadata | None = None) -> "BlendRows":
        """The rows of the first member."""
        first = members[0]
        predictions = np.stack([align(member, first.ids).values for member in members])
        if columns is None:
            return cls(predictions)
        table = pd.DataFrame() if first.metadata is None else first.metadata
        if absent := [name for name in columns.columns if PREFIX + name not in table]:
            raise RunError(f"the predictions have no metadata {listed(absent)}, which the blend takes: predict again")
        return cls(predictions, columns.encode(table), columns.sizes)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.predictions.shape

    def __getitem__(self, index: Any) -> "BlendRows":
        _, rows = index if isinstance(index, tuple) else (index, slice(None))
        metadata = None if self.metadata is None else self.metadata[rows]
        groups = None if self.groups is None else self.groups[rows]
        return BlendRows(self.predictions[index], metadata, self.sizes, groups)

    def parts(self, strata: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
        """The number of each row's part of at most `count`: of whole groups, or each with the same share of strata."""
        if self.groups is not None and len(np.unique(self.groups)) > 1:
            return np.unique(self.groups, return_inverse=True)[1] % count
        return stratified_folds(strata, count, seed)

    def features(self, of_predictions: Floats) -> Floats:
        """The columns of metadata, then these features of the predictions."""
        return of_predictions if self.metadata is None else np.column_stack([self.metadata, of_predictions])


def metadata_of(blending: Mapping[str, Any], competition: Competition) -> Metadata | None:
    """The columns that a blend with these settings takes, if any."""
    chosen = blending.get("metadata")
    return Metadata.of(MetadataChoice.model_validate(chosen) if chosen else None, competition)
