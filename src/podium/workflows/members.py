"""The steps of one member: prepare -> train_run -> predict_fold, a run folder for every fold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from podium.config.competition import Competition
from podium.config.dry_run import as_dry_run, dry_run_rows
from podium.config.loading import Member
from podium.config.member import MemberSettings
from podium.errors import ConfigError, RunError, StoppedError
from podium.files import digest_of, read_json
from podium.locks import locked
from podium.models.weights import fingerprint
from podium.options import RunOptions
from podium.paths import data_folder
from podium.runs import Run
from podium.training.libraries import import_libraries

if TYPE_CHECKING:
    from podium.data.folds import Folds
    from podium.data.table import CompetitionRows
    from podium.inference.predict import ToPredict
    from podium.training.classification import ClassificationTask, LabelledImages


UNDECISIVE = ("folds", "tta", "tensorboard", "save_every", "cache_gb")
"""Keys of a member that do not decide its weights."""


@dataclass(frozen=True)
class Prepared:
    """A competition's rows and folds, its images' content, and those of them that cannot be read."""

    competition: Competition
    rows: "CompetitionRows"
    folds: "Folds"
    unreadable: set[Path] = field(default_factory=set)
    contents: str = ""
    """A digest of all images' bytes."""


def prepare(
    competition: Competition, options: RunOptions, console: Console, to_train: Sequence[Member] = ()
) -> Prepared:
    """Read the tables, find the images, look at each of them, and split the rows.

    Images that are read for the first time are kept as those members will need them, so each is decoded once.
    """
    from podium.data.catalogue import catalogue, images_of, leave_out_unreadable
    from podium.data.folds import make_folds
    from podium.data.table import read_rows

    rows = read_rows(competition, data_folder(competition.slug, options.data, competition.kaggle_source))
    if to_train and not (options.dry_run or options.limit or options.limit_test):
        _read_and_keep(rows, to_train, console)
    known = catalogue(images_of(rows), competition.slug, console)
    rows, unreadable = leave_out_unreadable(rows, competition.on_bad_image, known)
    folds = make_folds(competition, rows, options.runs)
    console.print(
        f"{competition.title or competition.slug}: {len(rows.train):,} images to train on"
        + (f", {len(rows.extra):,} extra" if len(rows.extra) else "")
        + f", {len(rows.test):,} to predict, {len(competition.classes)} classes; folds in {folds.path}"
    )
    if unreadable:
        console.print(f"{len(unreadable)} images cannot be read and are left out (on_bad_image: skip)")
    return Prepared(competition, rows, folds, unreadable, known.digest)


def _read_and_keep(rows: "CompetitionRows", members: Sequence[Member], console: Console) -> None:
    from podium.data.image_source import Cache, read_and_keep
    from podium.data.images import Frame, frame_of
    from podium.data.table import paths_of
    from podium.inference.tta import make_views

    for_training, for_test = set(), set()
    for settings in (member.settings for member in members):
        for_training |= {Frame(stage.image_size, settings.resize) for stage in settings.stages}
        last = settings.stages[-1].image_size
        for_test |= {frame_of(last, settings.resize, view.zoom) for view in make_views(settings.tta)}
    cache = Cache(members[0].competition.slug, max(member.settings.cache_gb for member in members), console)
    read_and_keep(paths_of(rows.train, rows.extra), for_training, cache)
    read_and_keep(paths_of(rows.test), for_test, cache)


@dataclass(frozen=True)
class FoldRun:
    """One member on one fold: what decides its weights, and the folder that holds them."""

    member: Member
    fold: int
    prepared: Prepared
    options: RunOptions
    run: Run
    resolved: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.member.name} fold {self.fold}"

    @property
    def settings(self) -> MemberSettings:
        return self.member.settings

    @property
    def folds_file(self) -> Path:
        return self.prepared.folds.path

    def task(self, console: Console) -> "ClassificationTask":
        from podium.data.image_source import Cache
        from podium.training.classification import ClassificationTask

        settings, competition = self.settings, self.member.competition
        training, validation = fold_images(self)
        console.print(
            f"{self.name}: training on {len(training.paths):,} images, validating on {len(validation.paths):,},"
            f" in {self.run.path}"
        )
        return ClassificationTask(
            settings,
            competition.labels,
            competition.metric,
            training,
            validation,
            self.fold,
            eager=self.options.dry_run,
            cache=Cache(competition.slug, settings.cache_gb, console),
        )

    def precision_on_cpu(self, console: Console) -> str:
        from podium.training.precision import choose_cpu_precision

        if self.options.dry_run:
            return "float32"
        rows = len(fold_images(self)[0].paths)
        return choose_cpu_precision(self.settings, len(self.member.competition.labels), rows, console)

    @property
    def predictions(self) -> Path:
        decides = [self.member.settings.tta.model_dump(mode="json"), self.options.limit_test]
        return self.run.predictions(digest_of(decides))

    @property
    def is_predicted(self) -> bool:
        """With the weights that are best now; a stage that was added may have found better ones."""
        if not self.run.is_trained:
            return False
        try:
            facts = read_json(self.predictions / "predictions.json")
        except RunError:  # damaged: predicting again makes it
            return False
        return bool(facts) and facts.get("weights") == self.run.state["best"].get("digest")

    @property
    def seconds_to_predict(self) -> float:
        """About, as the validation images took in training."""
        from podium.inference.tta import make_views

        images = len(validation_rows(self)) + len(self.prepared.rows.test)
        seconds = self.run.state.get("seconds_per_image", 0.0)
        return float(1.3 * seconds * images * len(make_views(self.member.settings.tta)))


def fold_runs(member: Member, prepared: Prepared, options: RunOptions) -> list[FoldRun]:
    """The runs of a member: one for every fold asked for."""
    if options.dry_run:
        member = as_dry_run(member)
    numbers = prepared.folds.numbers
    asked = member.settings.folds or numbers
    if options.folds:
        asked = list(options.folds)
    elif options.dry_run:
        asked = asked[:1]
    for fold in asked:
        if fold not in numbers:
            raise ConfigError(
                f"there is no fold {fold} in {prepared.folds.path}; it has {', '.join(map(str, numbers))}"
            )
    resolved = _resolved(member, prepared, options)
    folder = options.runs / f"{member.name}-{resolved['digest']}"
    return [
        FoldRun(member, fold, prepared, options, Run(folder / f"fold{fold}"), {**resolved, "fold": fold})
        for fold in sorted(set(asked))
    ]


def _resolved(member: Member, prepared: Prepared, options: RunOptions) -> dict[str, Any]:
    """The resolved config, with the digest of the parts that decide the weights."""
    settings = member.settings.model_dump(mode="json", by_alias=True)
    if settings["precision"] == "auto":  # as runs have it that were begun before there was a choice
        del settings["precision"]
    for stage, content in zip(member.settings.stages, settings["stages"], strict=True):
        content["views"] = stage.shared_views
        if stage.shared_views is None:  # the same
            del content["views"]
    competition = member.competition.model_dump(mode="json", by_alias=True)
    decides = {
        "member": {key: value for key, value in settings.items() if key not in UNDECISIVE},
        "metric": member.competition.metric,
        "labels": member.competition.labels,  # a list: their order is that of the model's outputs
        "weights": fingerprint(member.name, member.settings.backbone),
        "limit": options.limit,
        "dry_run": options.dry_run,
        "rows": digest_of([prepared.rows.digest, prepared.contents]),
        "folds": prepared.folds.digest,
    }
    return {
        "name": member.name,
        "digest": digest_of(decides),
        "dry_run": options.dry_run,
        "limit": options.limit,
        "made_of": {key: decides[key] for key in ("labels", "weights", "rows", "folds")},
        "member": settings,
        "competition": competition,
    }


def fold_images(one: FoldRun) -> "tuple[LabelledImages, LabelledImages]":
    """What the fold trains on (extra rows included) and what it validates on, within the limits asked for."""
    import pandas as pd

    from podium.data.folds import TEST
    from podium.data.table import numbered, paths_of
    from podium.training.classification import LabelledImages

    rows, of_row = one.prepared.rows, one.prepared.folds.of_row
    classes = one.member.competition.labels
    needed = ["label", "path"]
    own = rows.train.loc[(of_row != str(one.fold)) & (of_row != TEST), needed]
    training = _limited(pd.concat([own, rows.extra[needed]], ignore_index=True), _training_limit(one))
    validation = validation_rows(one)
    present = set(training["label"])
    absent = [label for label in classes if label not in present]
    if absent:
        raise ConfigError(
            f"fold {one.fold} trains on no image of the class {', '.join(absent)}; mend {one.prepared.folds.path}"
        )
    return (
        LabelledImages(paths_of(training), numbered(training["label"], classes)),
        LabelledImages(paths_of(validation), numbered(validation["label"], classes)),
    )


def validation_rows(one: FoldRun) -> Any:
    rows, of_row = one.prepared.rows, one.prepared.folds.of_row
    held_out = rows.train[of_row == str(one.fold)].reset_index(drop=True)
    return _limited(held_out, dry_run_rows(one.member) if one.options.dry_run else None)


def _training_limit(one: FoldRun) -> int | None:
    if one.options.dry_run:
        return min(one.options.limit or 10**9, dry_run_rows(one.member))
    return one.options.limit


def _limited(rows: Any, limit: int | None) -> Any:
    """The same rows for every member of an ensemble, whatever its seed, so that their predictions can be blended."""
    from podium.data.folds import stratified_limit

    if limit is None or len(rows) <= limit:
        return rows
    return rows.iloc[stratified_limit(rows["label"], limit, seed=0)].reset_index(drop=True)


def predict_fold(one: FoldRun, console: Console) -> None:
    import_libraries(to_fork=not one.options.dry_run)  # which takes a few images
    from podium.inference.predict import predict

    if not one.run.is_trained:
        raise RunError(
            f"{one.name} is not trained (looked in {one.run.path}); run podium train with the same config and options"
        )
    reason = one.options.stop_condition.reason(one.seconds_to_predict)
    if reason:
        raise StoppedError(
            f"{reason}: {one.name} is trained; predicting it takes about {one.seconds_to_predict:.0f} s more; go on"
            f" with: {one.options.command}"
        )
    console.print(f"{one.name}: predicting")
    with locked(one.run.path):
        predict(one.run, one.member, one.fold, rows_to_predict(one), one.predictions, console)


def rows_to_predict(one: FoldRun) -> "ToPredict":
    import numpy as np

    from podium.data.folds import TEST
    from podium.data.table import numbered, paths_of
    from podium.inference.predict import Images, ToPredict

    rows, classes = one.prepared.rows, one.member.competition.labels

    def labelled(table: Any) -> Images:
        return Images(table["id"].tolist(), paths_of(table), numbered(table["label"], classes))

    test = rows.test if one.options.limit_test is None else rows.test.iloc[: one.options.limit_test]
    apart = rows.train[one.prepared.folds.of_row == TEST]
    counts = np.bincount(numbered(rows.train["label"], classes), minlength=len(classes))
    return ToPredict(
        labelled(validation_rows(one)),
        Images(test["id"].tolist(), paths_of(test).leaving_out(one.prepared.unreadable)),
        labelled(apart) if len(apart) else None,
        counts / counts.sum(),
    )
