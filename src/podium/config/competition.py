"""The schema of a competition file: where the images are, what they are called, how an answer is scored."""

import string
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from podium.config.kaggle_place import DataAtKaggle, KaggleKind, source_of
from podium.config.problems import nearest, one_of, raise_key_problems
from podium.config.settings import Settings, Share, short_form
from podium.evaluation.metrics import METRICS


class TrainSource(Settings):
    """Labelled images: rows of a table, or, without one, the files that the pattern finds in a folder per class."""

    table: str | None = None
    id: str = "Id"
    label: str = "Category"
    group: str | None = None
    images: str
    """Where a row's image is, such as `train/{label}/{id}`."""

    @field_validator("images")
    @classmethod
    def _has_id(cls, images: str) -> str:
        return checked_pattern(images, {"id", "label"})

    @model_validator(mode="after")
    def _folder_per_class_needs_label(self) -> Self:
        problems = []
        if self.table is None and "{label}" not in self.images:
            problems.append(("images", "without a table the class comes from the folder: put {label} into images"))
        if self.table is None and self.group is not None:
            problems.append(("group", "group is a column of a table: name the table, or leave group out"))
        raise_key_problems(problems)
        return self


class ExtraSource(TrainSource):
    """More labelled images, which train in every fold and are never validated on."""

    folder: str
    """Seen from the competition's data folder, or absolute."""


class TestSource(Settings):
    images: str
    """Where a test image is, such as `test_upload/{id}`; the ids are those of the sample submission."""

    @field_validator("images")
    @classmethod
    def _has_id(cls, images: str) -> str:
        return checked_pattern(images, {"id"})


class Submission(Settings):
    format: Literal["label", "probabilities"] = "label"
    sample: str = "sample-submission.csv"
    id: str = "Id"
    label: str = "Category"
    """The answer's column, for the format `label`."""
    columns: dict[str, str] = {}
    """Which column holds a class's probability, for the format `probabilities`; a class left out has its own name."""

    @field_validator("columns", mode="before")
    @classmethod
    def _classes_as_text(cls, columns: Any) -> Any:
        return _by_class(columns)


class StratifiedFolds(Settings):
    """Every fold has the classes in the same shares."""

    kind: Literal["stratified"]
    count: Annotated[int, Field(ge=2)] = 5
    seed: int = 42


class GroupedFolds(Settings):
    """As stratified, and rows of one group (the same car, the same day) never stand on both sides."""

    kind: Literal["grouped"]
    count: Annotated[int, Field(ge=2)] = 5
    seed: int = 42


class HoldoutFolds(Settings):
    """One fold: a share of the rows validates, the rest trains."""

    kind: Literal["holdout"]
    share: Share = 0.2
    seed: int = 42


class ShareFolds(Settings):
    """One fold, and rows apart that neither train nor validate: they are scored once, at the end."""

    kind: Literal["shares"]
    train: Share = 0.8
    validation: Share = 0.1
    test: Share = 0.1
    seed: int = 42

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train, validation and test are shares of the whole and sum to 1, not to {total:g}")
        return self


class TableFolds(Settings):
    """A person's own `folds.csv`: columns id, label, fold; a fold is a number, `train` or `test`."""

    kind: Literal["table"]
    path: str
    """Seen from the competition's data folder, or absolute."""


Folds = Annotated[
    StratifiedFolds | GroupedFolds | HoldoutFolds | ShareFolds | TableFolds,
    Field(discriminator="kind"),
    short_form("kind"),
]


class Competition(Settings):
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: str = ""
    data_at_kaggle: DataAtKaggle = None
    """Left out, it is the data of the competition that the slug names."""
    train: TrainSource
    extra: list[ExtraSource] = []
    test: TestSource
    zips: list[str] = []
    """Archives of the data folder to unpack before images are looked for."""
    classes: Annotated[dict[str, str], Field(min_length=2)]
    """The label as the table writes it, and its name for a person."""
    metric: str
    submission: Submission = Submission()
    folds: Folds = StratifiedFolds(kind="stratified")
    on_bad_image: Literal["error", "skip"] = "error"

    @field_validator("classes", mode="before")
    @classmethod
    def _class_names(cls, classes: Any) -> Any:
        if not isinstance(classes, list):
            return _by_class(classes)
        labels = [_label(name) for name in classes]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"a class stands twice: {', '.join(twice)}; keep one")
        return {label: label for label in labels}

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        return one_of(metric, METRICS, "a metric")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [
            (f"submission.columns.{label}", f"{label!r} is not a class{nearest(label, self.labels)}")
            for label in self.submission.columns
            if label not in self.classes
        ]
        columns = [self.submission.columns.get(label, label) for label in self.labels]
        for column in sorted({column for column in columns if columns.count(column) > 1}):
            problems.append(("submission.columns", f"two classes have the column {column!r}; each needs its own"))
        if self.folds.kind == "grouped" and self.train.group is None:
            problems.append(("folds", "grouped folds need train.group, the column that names the group"))
        raise_key_problems(problems)
        return self

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str]:
        """What a kernel has to attach for the data."""
        return source_of(self.data_at_kaggle) or ("competition", self.slug)

    @property
    def labels(self) -> list[str]:
        """The labels in the order of the model's outputs."""
        return list(self.classes)


def _by_class(value: Any) -> Any:
    return {_label(key): text for key, text in value.items()} if isinstance(value, dict) else value


def _label(written: Any) -> str:
    """A class as the table writes it. Of `true` or `1.50` YAML does not keep how it was written."""
    if isinstance(written, str) or type(written) is int:
        return str(written)
    raise ValueError(f"a class is text: write {written!r} in quotes, exactly as the table writes it")


def checked_pattern(pattern: str, fields: set[str]) -> str:
    """The pattern, if it holds {id}, no fields but these, and does not leave its folder."""
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
    except ValueError as error:
        raise ValueError(f"{pattern!r} is not a pattern such as 'train/{{label}}/{{id}}': {error}") from None
    if "id" not in used or not used <= fields:
        allowed = " and ".join(f"{{{name}}}" for name in sorted(fields))
        raise ValueError(f"a pattern holds {{id}}, and nothing in braces but {allowed}: got {pattern!r}")
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"a pattern stays inside the data folder: got {pattern!r}")
    return pattern
