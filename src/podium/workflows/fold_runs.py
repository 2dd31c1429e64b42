"""A run for each fold of a member: the rows and images that it trains on, and everything that decides its weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.dry_run import as_dry_run, dry_run_rows
from podium.config.loading import Member
from podium.config.member import MemberSettings
from podium.config.settings import decisive_keys
from podium.errors import ConfigError, RunError
from podium.files import digest_of
from podium.models.preset_places import is_at_hand
from podium.models.weights import weights_digest
from podium.options import RunOptions
from podium.runs import Run, read_predictions_facts
from podium.workflows.prepare import Prepared

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from podium.data.folds import Folds
    from podium.data.labelled import LabelledImages
    from podium.data.target import Target, Truth
    from podium.inference.predict import PredictionSets
    from podium.training.classification import ClassificationTask
    from podium.workflows.more_rows import MoreRows


@dataclass(frozen=True, repr=False)
class FoldRun:
    """One fold of a member: everything that determines its weights, and its run folder."""

    member: Member
    fold: int
    prepared: Prepared
    options: RunOptions
    run: Run
    resolved: dict[str, Any]
    more_rows: "MoreRows | None" = None
    """The rows that the member's config adds to those of the competition."""

    def __repr__(self) -> str:
        score = f", {self.run.state['best']['monitor']} {self.score:.4f}" if self.is_trained else ", not trained"
        return f"<FoldRun {self.name}{score}, {self.path}>"

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return f"{self.member.name} fold {self.fold}"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def is_trained(self) -> bool:
        return self.run.is_trained

    @property
    def score(self) -> float:
        """The validation score of the best weights."""
        self._check_is_trained()
        return float(self.run.best["score"])

    @property
    def history(self) -> "pd.DataFrame":
        """One row per epoch, across all stages."""
        if not self.run.history.is_file():
            raise RunError(f"{self.name} has no history yet (expected {self.run.history}); train it first")
        return self.run.read_history()

    def plot(self) -> "Figure":
        """The learning curves of all stages, as a matplotlib figure."""
        from podium.workflows.plots import plot_history

        return plot_history(self.history, self.member.competition, self.name)

    def load_model(self) -> Any:
        """The Keras model with the best weights."""
        from podium.inference.sized_predictor import load_trained_model

        self._check_is_trained()
        return load_trained_model(self.run, self.member)[0]

    def _check_is_trained(self) -> None:
        if not self.is_trained:
            raise RunError(f"{self.name} is not trained (looked in {self.path}); train it with the same config first")

    @property
    def settings(self) -> MemberSettings:
        return self.member.settings

    @property
    def folds_file(self) -> Path:
        return self.prepared.folds.path

    def task(self, console: Console) -> "ClassificationTask":
        from podium.data.image_cache import Cache
        from podium.data.metadata import Metadata
        from podium.data.targets import target_of
        from podium.evaluation.metrics import metric_of
        from podium.training.classification import ClassificationTask

        settings, competition = self.settings, self.member.competition
        training, validation = fold_images(self)
        console.print(
            f"{self.name}: training on {len(training.paths):,} images, validating on {len(validation.paths):,},"
            f" in {self.run.path}"
        )
        return ClassificationTask(
            settings,
            target_of(competition),
            metric_of(competition),
            training,
            validation,
            self.fold,
            eager=self.options.dry_run,
            cache=Cache(competition.slug, settings.cache_gb, console),
            recipe=self.run.recipe,
            metadata=Metadata.of(settings.metadata, competition),
        )

    def precision_on_cpu(self, console: Console) -> str:
        from podium.data.targets import target_of
        from podium.training.precision import choose_cpu_precision

        if self.options.dry_run:
            return "float32"
        rows, competition = len(fold_images(self)[0].paths), self.member.competition
        channels = competition.reading.channels
        return choose_cpu_precision(self.settings, target_of(competition), rows, console, channels=channels)

    @property
    def predictions(self) -> Path:
        """The folder of predictions for the current test-time augmentation, test set and metadata."""
        prepared = self.prepared
        inputs = [self.settings.predicting, prepared.test.digest, self.options.limit_test, *prepared.metadata_digest]
        return self.run.predictions(digest_of(inputs))

    @property
    def is_predicted(self) -> bool:
        """Whether there are predictions by the current best weights; a stage added later may have improved them."""
        if not self.run.is_trained:
            return False
        try:
            facts = read_predictions_facts(self.predictions)
        except RunError:  # damaged: predicting again replaces it
            return False
        return bool(facts) and facts.get("weights") == self.run.best.get("digest")

    @property
    def seconds_to_predict(self) -> float:
        """An estimate, from the time that validation took during training."""
        from podium.inference.tta import make_views

        images = len(validation_rows(self)) + len(self.prepared.test.ids)
        seconds = self.run.state.get("seconds_per_image", 0.0)
        tta, trained = self.settings.tta, self.settings.stages[-1].image_size
        areas = sum((size / trained) ** 2 for size in tta.image_sizes or [trained])
        return float(1.3 * seconds * images * len(make_views(tta)) * areas)


def fold_runs(member: Member, prepared: Prepared, options: RunOptions) -> list[FoldRun]:
    """The runs of a member: one for each fold that is trained."""
    member = replace(member, competition=prepared.competition)  # its classes and categories are known
    if options.dry_run:
        member = as_dry_run(member, is_at_hand)
    folds = folds_to_train(member, prepared.folds, options)
    more_rows = None
    if member.settings.adds_rows:
        from podium.workflows.more_rows import read_more_rows  # a kernel that adds none does not have it

        more_rows = read_more_rows(member, prepared, options.labels or options.runs)
    resolved = _resolved(member, prepared, options, more_rows)
    folder = options.runs / f"{member.name}-{resolved['digest']}"
    return [
        FoldRun(member, fold, prepared, options, Run(folder / f"fold{fold}"), {**resolved, "fold": fold}, more_rows)
        for fold in folds
    ]


def folds_to_train(member: Member, of_competition: "Folds", options: RunOptions) -> list[int]:
    """The folds in the options, else in the config, else of the competition."""
    numbers = of_competition.numbers
    folds = member.settings.folds or numbers
    if options.folds:
        folds = list(options.folds)
    elif options.dry_run:
        folds = folds[:1]
    for fold in folds:
        if fold not in numbers:
            raise ConfigError(
                f"there is no fold {fold} in {of_competition.path}; expected one of {', '.join(map(str, numbers))}"
            )
    return sorted(set(folds))


def _resolved(member: Member, prepared: Prepared, options: RunOptions, more_rows: "MoreRows | None") -> dict[str, Any]:
    """The resolved config, with a digest of everything that determines the weights."""
    from podium.data.metadata import Metadata
    from podium.data.table import digest_of_columns

    rows, metadata = prepared.rows, Metadata.of(member.settings.metadata, member.competition)
    inputs = [rows.digest, prepared.contents]
    if metadata:
        inputs.append(digest_of_columns(metadata.content([rows.train, rows.extra]), metadata.columns))
    if ignored := member.competition.ignore:
        inputs.append(digest_of(sorted(ignored)))
    settings = resolved_settings(member)
    competition = member.competition.model_dump(mode="json", by_alias=True)
    digest_content = {
        "member": {key: settings[key] for key in decisive_keys(MemberSettings)},
        "metric": [member.competition.metric, member.competition.metric_code],
        "target": member.competition.target.model_dump(mode="json"),
        "labels": member.competition.labels,  # a list: the order is that of the model's outputs
        "weights": weights_digest(member.name, member.settings.backbone),
        "limit": options.limit,
        "dry_run": options.dry_run,
        "rows": digest_of(inputs),
        "more_rows": more_rows.digest if more_rows else None,
        "folds": prepared.folds.digest,
    }
    return {
        "name": member.name,
        "digest": digest_of(digest_content),
        "dry_run": options.dry_run,
        "limit": options.limit,
        "inputs": {key: digest_content[key] for key in ("labels", "weights", "rows", "more_rows", "folds")},
        "prior": prepared.prior.tolist(),
        "member": settings,
        "competition": competition,
    }


def resolved_settings(member: Member) -> dict[str, Any]:
    """The settings of a member as they are in its run folders."""
    settings = member.settings.model_dump(mode="json", by_alias=True)
    for stage, content in zip(member.settings.stages, settings["stages"], strict=True):
        content["views"] = stage.shared_views
    return settings


def fold_images(fold_run: FoldRun) -> "tuple[LabelledImages, LabelledImages]":
    """The images to train on (extra ones included) and to validate on, within the limits of the options."""
    import pandas as pd

    from podium.data.folds import TEST
    from podium.data.labelled import LabelledImages
    from podium.data.metadata import Metadata
    from podium.data.targets import target_of

    rows, of_row = fold_run.prepared.rows, fold_run.prepared.folds.of_row
    target = target_of(fold_run.member.competition)
    metadata = Metadata.of(fold_run.settings.metadata, fold_run.member.competition)

    def labelled(table: pd.DataFrame) -> LabelledImages:
        encoded = metadata.encode(table) if metadata else None
        return LabelledImages(rows.paths_of(table), target.truth(table), metadata=encoded)

    ignored = rows.train["id"].isin(fold_run.prepared.competition.ignore).to_numpy()
    own = rows.train.loc[(of_row != str(fold_run.fold)) & (of_row != TEST) & ~ignored]
    training = labelled(pd.concat([own, rows.extra], ignore_index=True))
    if fold_run.more_rows:
        training = fold_run.more_rows.added_to(training, own["id"].tolist(), fold_run.fold, target)
    if (chosen := _limited(training.truth, target, _training_limit(fold_run))) is not None:
        training = training.take(chosen)
    if absent := target.classes_without_rows(training.truth):
        raise ConfigError(
            f"fold {fold_run.fold} has no training image of the class {', '.join(absent)}; if no row has"
            f" it, remove it from the classes of the competition file, else fix {fold_run.prepared.folds.path}"
        )
    return training, labelled(validation_rows(fold_run))


def validation_rows(fold_run: FoldRun) -> "pd.DataFrame":
    from podium.data.targets import target_of

    rows, of_row = fold_run.prepared.rows, fold_run.prepared.folds.of_row
    held_out: pd.DataFrame = rows.train[of_row == str(fold_run.fold)].reset_index(drop=True)
    target = target_of(fold_run.member.competition)
    limit = dry_run_rows(fold_run.member) if fold_run.options.dry_run else None
    chosen = _limited(target.truth(held_out), target, limit)
    return held_out if chosen is None else held_out.iloc[chosen].reset_index(drop=True)


def rows_to_predict(fold_run: FoldRun) -> "PredictionSets":
    """The validation rows, the test images and, if the folds have them, the rows of the final test."""
    from podium.data.folds import TEST
    from podium.data.targets import target_of
    from podium.inference.predict import PredictionSets
    from podium.inference.sized_predictor import PredictionRows

    prepared, options = fold_run.prepared, fold_run.options
    rows, target = prepared.rows, target_of(fold_run.member.competition)
    training = None
    if fold_run.settings.neighbours:  # hard examples have one vote like others
        more_rows = fold_run.more_rows and replace(fold_run.more_rows, hard=None)
        training = fold_images(replace(fold_run, more_rows=more_rows))[0]

    def labelled(table: "pd.DataFrame") -> PredictionRows:
        return PredictionRows(table["id"].tolist(), rows.paths_of(table), table, target.truth(table))

    test = slice(options.limit_test)
    final_test = rows.train[prepared.folds.of_row == TEST]
    return PredictionSets(
        labelled(validation_rows(fold_run)),
        PredictionRows(prepared.test.ids[test], prepared.test.paths[test], prepared.test.metadata[test]),
        labelled(final_test) if len(final_test) else None,
        prepared.prior,
        training,
    )


def _training_limit(fold_run: FoldRun) -> int | None:
    limit = fold_run.options.limit
    if not fold_run.options.dry_run:
        return limit
    rows = dry_run_rows(fold_run.member)
    return min(limit, rows) if limit else rows


def _limited(truth: "Truth", target: "Target", limit: int | None) -> "NDArray[np.int64] | None":
    """Which rows to use; None for all. They are the same for every member of an ensemble, whatever its seed, so that
    their predictions can be blended."""
    from podium.data.folds import stratified_limit

    if limit is None or len(truth) <= limit:
        return None
    return stratified_limit(target.strata(truth), limit, seed=0, of_each=target.truth_is_class)
