"""Predict any images with the trained folds of a member, or with a finished blend."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from podium.config.competition import Competition
from podium.config.loading import is_ensemble
from podium.config.member import MemberSettings
from podium.console import make_console
from podium.errors import ConfigError, DataError, RunError
from podium.options import RunOptions
from podium.paths import data_folder
from podium.runs import Run, runs_in
from podium.training.run_training import import_libraries
from podium.workflows.configs import load_ensemble, load_member
from podium.workflows.finished import FinishedBlend, find_blend, find_member, read_blend
from podium.workflows.fold_runs import FoldRun

if TYPE_CHECKING:
    import pandas as pd

    from podium.data.unlabelled import UnlabelledImages
    from podium.inference.trained import TrainedFold
    from podium.predictions import Predictions


def predict_images(
    runs: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]",
    images: str | Path,
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    console: Console | None = None,
) -> "pd.DataFrame":
    """Predict any images: the mean of trained folds, each with the test-time augmentation of its member, or a blend.

    Args:
        runs: One or more runs from `train`, a blend from `blend` or `run`, or the folder of a run, of all folds of a
            member, or of a blend.
        images: A folder, or a CSV file with the column `path`, or with ids for the pattern of the competition's test
            images; and with the columns of metadata that the model or its blend takes, if any.
        out: A CSV file to write the predictions to.
        data: The folder of the competition's data, for a CSV file of ids. By default PODIUM_DATA, else `data/<slug>`.
        console: Where to print. By default the notebook or the terminal; `Console(quiet=True)` prints nothing.

    Returns:
        A probability for each class, by id. The ids of a folder's images are their file names.
    """
    console = console or make_console()
    given = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    model = model_of(given)
    return _as_frame(predict_to_file(model, Path(images), Path(out) if out else None, data, console))


@dataclass(frozen=True)
class TrainedModel:
    """Trained folds, and how they were blended; without a blend, their mean is predicted."""

    folds: "list[TrainedFold]"
    blend: FinishedBlend | None = None

    @property
    def competition(self) -> Competition:
        """As it was blended, else as it was trained."""
        return self.blend.competition if self.blend else self.folds[0].member.competition

    @property
    def metadata(self) -> list[str]:
        """The columns of metadata that it takes."""
        from podium.ensemble.rows import metadata_of

        columns = metadata_of(self.blend.facts["blend"], self.competition) if self.blend else None
        names = [name for fold in self.folds for name in fold.metadata]
        return list(dict.fromkeys([*names, *(columns.columns if columns else ())]))

    def predict(self, images: "UnlabelledImages", console: Console) -> "Predictions":
        from podium.data.targets import target_of
        from podium.ensemble.blend import apply_blend
        from podium.inference.trained import predict_images
        from podium.predictions import concatenate, read_predictions

        if self.blend is None:
            return predict_images(self.folds, images, console)
        outputs = target_of(self.competition).outputs
        before: dict[str, list[Predictions]] = {name: [] for name in self.blend.facts["members"]}
        folds: dict[str, list[TrainedFold]] = {name: [] for name in before}
        for folder, fold in zip(self.blend.predictions, self.folds, strict=True):
            before[fold.member.name].append(read_predictions(folder / "oof.csv", outputs))
            folds[fold.member.name].append(fold)
        fitted = self.blend.facts["blend"]
        used = [name for name in before if name not in fitted.get("left_out", [])]
        oof = {name: concatenate(before[name]) for name in used}
        predictions = {name: predict_images(folds[name], images, console) for name in used}
        if not images.metadata.empty:
            predictions = {name: replace(part, metadata=images.metadata) for name, part in predictions.items()}
        return apply_blend(fitted, self.competition, oof, predictions)


def model_of(runs: "Sequence[str | os.PathLike[str]]") -> TrainedModel:
    """The trained model in these folders, or of these runs and blends."""
    if not runs:
        raise RunError("no runs to predict with; expected at least one")
    if len(runs) == 1 and (Path(runs[0]) / "blend.json").is_file():
        return model_of_blend(read_blend(Path(runs[0])))
    folds = []
    for run in runs:
        if isinstance(run, FoldRun):
            folds.append(_read_fold(run.run, run.settings))
        else:
            folds += [_read_fold(found) for found in runs_in(Path(run))]
    return TrainedModel(folds)


def model_of_blend(blend: FinishedBlend) -> TrainedModel:
    blend.check()
    folds = [_read_fold(Run(folder.parent), predictions=folder) for folder in blend.predictions]
    return TrainedModel(folds, blend)


def model_of_config(config: Path, overrides: Sequence[str], seed: int | None, options: RunOptions) -> TrainedModel:
    """The trained model of a member or an ensemble file, or in a run folder."""
    is_member = not config.is_dir() and not is_ensemble(config)
    if not is_member and (options.folds or options.limit or options.dry_run):
        raise ConfigError(
            f"{config} is not a member file, and --fold, --limit and --dry-run choose a run of a member: omit them, or"
            " name the run folder"
        )
    if config.is_dir():
        return model_of([config])
    if not is_member:
        return model_of_blend(find_blend(load_ensemble(config, overrides, seed), options.runs))
    member = load_member(config, overrides, seed)
    return TrainedModel([_read_fold(run, member.settings) for run in find_member(member, options)])


def _read_fold(run: Run, settings: MemberSettings | None = None, predictions: Path | None = None) -> "TrainedFold":
    import_libraries()
    from podium.inference.trained import TrainedFold

    return TrainedFold.read(run, settings, predictions)


def predict_to_file(
    model: TrainedModel, images: Path, out: Path | None, data: str | Path | None, console: Console
) -> "Predictions":
    """Predict the images of a folder or table, and write the predictions to a CSV file."""
    from podium.data.unlabelled import find_unlabelled, with_contents
    from podium.predictions import write_predictions

    competition, folder = model.competition, None
    with suppress(DataError):  # a table of paths, or of ids with their images beside it, needs no other data
        folder = data_folder(competition.slug, Path(data) if data else None, competition.kaggle_source)
    found = find_unlabelled(images, competition, folder, console, model.metadata)
    found = with_contents(found, competition, console)
    predictions = model.predict(found, console)
    if out:
        write_predictions(out, predictions)
        console.print(f"{out}: predictions of {len(found.ids):,} images", highlight=False)
    return predictions


def _as_frame(predictions: "Predictions") -> "pd.DataFrame":
    import pandas as pd

    columns = [f"p_{name}" for name in predictions.outputs]
    return pd.DataFrame(predictions.values, index=pd.Index(predictions.ids, name="id"), columns=columns)
