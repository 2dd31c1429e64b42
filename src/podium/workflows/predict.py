"""Predict the validation and test images with a trained fold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.competition import Competition
from podium.console import make_console
from podium.errors import RunError, StoppedError
from podium.locks import locked
from podium.runs import read_predictions_facts
from podium.training.run_training import import_libraries
from podium.workflows.fold_runs import FoldRun, rows_to_predict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class FoldPredictions:
    """The predictions of one fold of a member, made on this machine or on another one."""

    member: str
    fold: int
    path: Path
    """The folder with oof.csv, test.csv and predictions.json."""
    best: Mapping[str, Any]
    """The epoch whose weights made them, as in the run's state.json."""
    competition: Competition
    sample: Path
    """The sample submission."""
    runs: Path
    """The folder of all runs."""
    is_partial: bool = False
    """Whether test images were left out with --limit-test."""
    is_dry_run: bool = False

    def __repr__(self) -> str:
        metric, score = self.facts["metric"], self.score
        return f"<FoldPredictions {self.member} fold {self.fold}, {metric} {score:.4f}, {self.path}>"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def facts(self) -> dict[str, Any]:
        """The content of predictions.json: the score, the views of test-time augmentation, and so on."""
        return read_predictions_facts(self.path)

    @property
    def score(self) -> float:
        """The competition's metric on the validation rows of this fold."""
        return float(self.facts["score"])

    def plot_mistakes(self, count: int = 24, *, data: str | Path | None = None) -> "Figure":
        """The validation images that are predicted wrong, the worst first, as a matplotlib figure.

        `data` is the folder of the competition's data, by default as in `podium.predict`.
        """
        from podium.workflows.plots import plot_mistakes

        return plot_mistakes(self.path.parent, count, data)

    @property
    def oof(self) -> "pd.DataFrame":
        """The out-of-fold predictions by id: the truth, the fold, the predicted columns `p_…`, and metadata `m_…`."""
        return read_frame(self.path / "oof.csv", self.competition)

    @property
    def test(self) -> "pd.DataFrame":
        """The predictions of the test images by id: the predicted columns `p_…`, and metadata `m_…`."""
        return read_frame(self.path / "test.csv", self.competition)


def predict(run: FoldRun, *, limit_test: int | None = None, console: Console | None = None) -> FoldPredictions:
    """Predict the validation and test images with a trained run, with the test-time augmentation of its member.

    Predictions that were made before with the same weights and views are returned as they are.

    Args:
        run: From `train`.
        limit_test: Predict only this many test images.
        console: Where to print. By default the notebook or the terminal; `Console(quiet=True)` prints nothing.

    Returns:
        The predictions, with `oof`, `test` and `score`.
    """
    if not isinstance(run, FoldRun):
        raise RunError(
            f"expected a run from podium.train, got {run!r}; podium.predict_images predicts with the folder of a run"
        )
    if limit_test is not None:
        run = replace(run, options=replace(run.options, limit_test=limit_test))
    return predict_if_needed(run, console or make_console())


def predict_if_needed(fold_run: FoldRun, console: Console) -> FoldPredictions:
    """Predict a fold, unless it is predicted already, and print its score."""
    if fold_run.is_predicted:
        console.print(f"{fold_run.name}: already predicted with these views, skipped")
    else:
        predict_fold(fold_run, console)
    predictions = predictions_of(fold_run)
    facts = predictions.facts
    views = f"{len(facts['views'])} view{'s' * (len(facts['views']) > 1)}"
    final = f", {facts['score_final_test']:.4f} on the rows of the final test" if "score_final_test" in facts else ""
    console.print(
        f"{fold_run.name}: out-of-fold {facts['metric']} {facts['score']:.4f} with {views}"
        f" ({facts['score_of_first_view']:.4f} with the first only){final}  {predictions.path}"
    )
    return predictions


def predict_fold(fold_run: FoldRun, console: Console) -> None:
    if not fold_run.is_trained:
        raise RunError(
            f"{fold_run.name} is not trained (looked in {fold_run.path}); run podium train with the same config and"
            " options"
        )
    import_libraries(to_fork=not fold_run.options.dry_run)  # a dry run has only a few images
    from podium.inference.predict import predict

    seconds = fold_run.seconds_to_predict
    reason = fold_run.options.stop_condition.reason(seconds)
    if reason:
        raise StoppedError(
            f"{reason}: {fold_run.name} is trained; predicting takes about {seconds:.0f} s more; resume with:"
            f" {fold_run.options.command}"
        )
    console.print(f"{fold_run.name}: predicting")
    with locked(fold_run.path):
        predict(fold_run.run, fold_run.member, fold_run.fold, rows_to_predict(fold_run), fold_run.predictions, console)


def predictions_of(fold_run: FoldRun) -> FoldPredictions:
    """The finished predictions of a fold."""
    prepared, options = fold_run.prepared, fold_run.options
    return FoldPredictions(
        fold_run.member.name,
        fold_run.fold,
        fold_run.predictions,
        fold_run.run.best,
        prepared.competition,
        prepared.sample,
        options.runs,
        is_partial=options.limit_test is not None,
        is_dry_run=options.dry_run,
    )


def all_predictions(fold_runs: Iterable[FoldRun]) -> list[FoldPredictions]:
    """The predictions of all these folds; with a fold missing, some rows would have no prediction."""
    runs = list(fold_runs)
    missing = [fold_run.name for fold_run in runs if not fold_run.is_predicted]
    if missing:
        raise RunError(
            f"missing predictions with this config: {', '.join(missing)}; run podium run, or podium train and then"
            " podium predict, with the same options"
        )
    return [predictions_of(fold_run) for fold_run in runs]


def read_frame(path: Path, competition: Competition) -> "pd.DataFrame":
    """A file of predictions as a DataFrame, with ids, labels and categories as text."""
    import pandas as pd

    from podium.data.metadata import PREFIX

    kinds = {PREFIX + name: kind for name, kind in competition.metadata.items()}
    texts = ["id", "label", *(name for name, kind in kinds.items() if kind != "number")]
    numbers = {name: ["", "nan"] for name, kind in kinds.items() if kind == "number"}
    return pd.read_csv(path, dtype=dict.fromkeys(texts, str), na_values=numbers, keep_default_na=False, index_col="id")
