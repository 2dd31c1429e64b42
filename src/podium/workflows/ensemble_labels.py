"""The labels that `podium pseudo` made with an ensemble, as a member reads them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.kaggle_names import KaggleSource
from podium.errors import RunError, listed
from podium.files import digest_of, digest_of_file
from podium.paths import labels_folder

if TYPE_CHECKING:
    from podium.data.labelled import LabelledImages
    from podium.data.metadata import Metadata
    from podium.predictions import Predictions
    from podium.workflows.prepare import Prepared


@dataclass(frozen=True)
class EnsembleLabels:
    folder: Path
    prepared: "Prepared"

    @property
    def digest(self) -> str:
        """Changes with every label and every test image."""
        files = sorted(self.folder.glob("fold-*.csv"))
        return digest_of([[[file.name, digest_of_file(file)] for file in files], self.prepared.test.digest])

    @property
    def digest_of_oof(self) -> str:
        return digest_of_file(self.folder / "oof.csv")

    def test_images(self, fold: int, weight: float, metadata: "Metadata | None" = None) -> "LabelledImages":
        """The test images with labels by models that have not seen the validation rows of this fold."""
        import numpy as np
        import pandas as pd

        from podium.data.labelled import soft_labelled
        from podium.data.targets import target_of

        file, test = self.folder / f"fold-{fold}.csv", self.prepared.test
        if not file.is_file():
            raise RunError(f"{self.folder} has no labels for fold {fold}; run podium pseudo for that fold too")
        labels = self._read(file)
        rows = pd.Index(test.ids).get_indexer(pd.Index(labels.ids))
        if (rows < 0).any():
            unknown = [labels.ids[row] for row in np.flatnonzero(rows < 0)]
            raise RunError(f"{file} has ids that are not in the test set: {listed(unknown)}; run podium pseudo again")
        readable, target = ~test.paths.missing[rows], target_of(self.prepared.competition)
        rows = rows[readable]
        images = soft_labelled(target, test.paths.take(rows), labels.values[readable], weight)
        return replace(images, metadata=metadata.encode(test.metadata.iloc[rows])) if metadata else images

    def oof(self) -> "Predictions":
        """The out-of-fold predictions of the labelled rows."""
        file = self.folder / "oof.csv"
        labels = self._read(file)
        if labels.folds is None:
            raise RunError(f"{file} has no columns of the truth and fold; run podium pseudo again")
        return labels

    def _read(self, file: Path) -> "Predictions":
        from podium.data.targets import target_of
        from podium.predictions import read_predictions

        return read_predictions(file, target_of(self.prepared.competition).outputs)

    def check_folds(self) -> None:
        """Raise an error if the ensemble was split otherwise: it would have trained on rows that are validated on."""
        import numpy as np
        import pandas as pd

        oof, folds = self.oof(), self.prepared.folds
        assert oof.folds is not None
        rows = pd.Index(self.prepared.rows.train["id"]).get_indexer(pd.Index(oof.ids))
        known = rows >= 0
        moved = np.flatnonzero(folds.of_row[rows[known]] != oof.folds[known].astype(str))
        if len(moved):
            ids = [oof.ids[row] for row in np.flatnonzero(known)[moved]]
            raise RunError(
                f"{self.folder} was made with other folds than {folds.path} ({listed(ids)}): its models have seen rows"
                " that this member validates on; train the ensemble with these folds, and run podium pseudo again"
            )


def find_labels(place: str, prepared: "Prepared", runs: Path) -> EnsembleLabels:
    """The labels of an ensemble by its name, their folder or their place at Kaggle, checked."""
    labels = EnsembleLabels(_folder(place, runs), prepared)
    if not (labels.folder / "oof.csv").is_file():
        raise RunError(
            f"no labels of the ensemble {place}: looked for {labels.folder / 'oof.csv'}; make them with podium pseudo,"
            " from the file of the ensemble"
        )
    labels.check_folds()
    return labels


def _folder(place: str, runs: Path) -> Path:
    from podium.data.extra import kaggle_folder

    if mounted := kaggle_folder(place):
        source = KaggleSource.parse(place)
        return mounted / source.path if source else mounted
    return Path(place) if "/" in place else labels_folder(runs, place)
