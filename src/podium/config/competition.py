"""The schema of a competition file: its tables and images, classes, metric, folds and submission format."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from podium.config.folds import Folds, StratifiedFolds
from podium.config.kaggle_names import DataAtKaggle, KaggleKind, Slug, source_of
from podium.config.metadata import MetadataColumns
from podium.config.patterns import Pattern
from podium.config.problems import nearest, raise_key_problems, repeated
from podium.config.reading import MOST_CHANNELS, RGB, Intensity, Pages, Reading
from podium.config.settings import Settings
from podium.config.sources import DEFAULT_LABEL, ExtraSource, TestSource, TrainSource
from podium.config.submission import FORMATS, Format, Submission, as_label, by_class
from podium.config.target import SEPARATORS, MultiLabel, Regression, SingleLabel, TargetSettings
from podium.errors import MOST_LISTED, ConfigError
from podium.evaluation.metrics import METRICS, OWN_METRIC, find_metric, make_metric
from podium.files import read_records

_CHANNEL = re.compile(r"[\w-]+")
_IGNORE = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "default": []}


class Competition(Settings):
    """A competition: where its images are, its classes, its metric and the form of its submissions."""

    slug: Slug
    """The last part of the competition's URL; its data is in data/<slug>."""
    title: str = ""
    """A name for messages."""
    data_at_kaggle: DataAtKaggle = None
    """Where Kaggle has the data: `kaggle-dataset:<owner>/<slug>`, `kaggle-kernel:<owner>/<slug>` or
    `kaggle-competition:<slug>`. The competition's own data by default."""
    train: TrainSource
    """The labelled images."""
    extra: list[ExtraSource] = []
    """More labelled images, which every fold trains on and none validates on."""
    test: TestSource
    """The images to predict."""
    zips: list[str] = []
    """Archives in the data folder to unpack before its images are read."""
    target: TargetSettings = SingleLabel(kind="single_label")
    """What is predicted: single_label, binary, multi_label, ordinal, regression or soft_label, alone or with its own
    keys, such as {kind: multi_label, separator: space}."""
    classes: Annotated[dict[str, str], Field(validate_default=True)] = {}
    """Each label, as in the table, with its display name; or a list of labels. By default they are read from the data,
    in sorted order. Not for regression."""
    metadata: MetadataColumns = {}
    """Columns of the tables of training and test images that members may take as a second input: number, category, or
    a list of the categories. By default the categories are those of the training rows."""
    metric_code: SkipJsonSchema[str | None] = None
    """The content of the file of an own metric, if it is not read from the file; resolved configs have it."""
    metric: str
    """The competition's score: the name of a metric, or FILE.py:FUNCTION for a function of a Python file next to this
    file."""
    submission: Submission = Submission()
    """The columns and the form of a submission."""
    folds: Folds = StratifiedFolds(kind="stratified")
    """How rows are split: a kind alone, or {kind: stratified, count: 5, seed: 42}."""
    intensity: Intensity = Intensity(rule="auto")
    """How values of more than 8 bits are scaled to 8: `auto`, `full`, `window`, {percentile: [1, 99]} of each image, or
    bounds such as {low: 0, high: 4095}."""
    pages: Pages = "first"
    """Of an image with several pages the first is used, or with `channels` each page as a channel."""
    channels: Annotated[int | list[str], Field(union_mode="left_to_right")] = RGB
    """The number of channels of an image; or, where each channel is a file, their names in place of {channel} at the
    end of a file's name, such as [red, green, blue, yellow] for `images: train/{id}_{channel}`."""
    ignore: Annotated[list[str], WithJsonSchema(_IGNORE)] = []
    """Rows of wrong labels to leave out of training: a CSV file next to this file, with the column `id`, or their ids.
    They are still validated and predicted, so that scores stay comparable."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What to do with images that cannot be read: stop before training, or leave them out."""
    on_ignored: Literal["error", "skip"] = "error"
    """What to do with files in the folders of classes that are no image of a class: stop, or leave them out."""

    @field_validator("channels", mode="before")
    @classmethod
    def _names_as_text(cls, channels: Any) -> Any:
        if isinstance(channels, bool) or not isinstance(channels, int | list):
            raise ValueError(f"expected a whole number, or a list of names, got {channels!r}")
        return [as_label(name) for name in channels] if isinstance(channels, list) else channels

    @field_validator("channels")
    @classmethod
    def _are_possible(cls, channels: int | list[str]) -> int | list[str]:
        count = channels if isinstance(channels, int) else len(channels)
        if not 1 <= count <= MOST_CHANNELS:
            raise ValueError(f"expected 1 to {MOST_CHANNELS} channels, got {count}")
        if isinstance(channels, list) and (len(set(channels)) < count or not all(map(_CHANNEL.fullmatch, channels))):
            raise ValueError(f"expected different names of letters, digits, - and _, got {channels}")
        return channels

    @field_validator("classes", mode="before")
    @classmethod
    def _class_names(cls, classes: Any) -> Any:
        if not isinstance(classes, list):
            return by_class(classes)
        labels = [as_label(name) for name in classes]
        if duplicates := repeated(labels):
            raise ValueError(f"duplicate class: {', '.join(duplicates)}")
        return {label: label for label in labels}

    @field_validator("classes")
    @classmethod
    def _fit_the_target(cls, classes: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        target = info.data.get("target")  # None if it is invalid
        if target is None:
            return classes
        if target.kind == "regression":
            if classes:
                raise ValueError("regression predicts numbers and has no classes: remove it")
            return classes
        if not classes:  # they are read from the data
            return classes
        if target.kind == "binary" and len(classes) != 2:
            raise ValueError(
                f"expected two classes, of which the second is the positive one, such as [0, 1], got {classes}"
            )
        fewest = {"multi_label": 1, "ordinal": 3}.get(target.kind, 2)
        if len(classes) < fewest:
            raise ValueError(f"expected {fewest} or more items, got {classes}")
        return classes

    @model_validator(mode="before")
    @classmethod
    def _read_metric_file(cls, content: Any, info: ValidationInfo) -> Any:
        """Read the file of a metric of its own, from the folder of the competition file or the working directory."""
        if not isinstance(content, dict) or content.get("metric_code") is not None:
            return content
        own = OWN_METRIC.fullmatch(str(content.get("metric")))
        path = (info.context or {}).get("folder", Path()) / own["file"] if own else None
        if path is None or not path.is_file():
            return content
        return {**content, "metric_code": path.read_text(encoding="utf-8", errors="replace")}

    @field_validator("ignore", mode="before")
    @classmethod
    def _read_ignored(cls, ignore: Any, info: ValidationInfo) -> Any:
        """The ids in a file next to the competition file, or in the working directory."""
        if isinstance(ignore, list):
            return [as_label(name) for name in ignore]
        if not isinstance(ignore, str):
            raise ValueError(f"expected a CSV file such as ignore.csv, or a list of ids, got {ignore!r}")
        path = (info.context or {}).get("folder", Path()) / ignore
        if not path.is_file():
            raise ValueError(f"there is no file {ignore} next to the competition file")
        rows = read_records(path)
        if any(not row.get("id") for row in rows):
            raise ValueError(f"expected a CSV file with the column id, and an id in every row, got {ignore}")
        return list(dict.fromkeys(row["id"] for row in rows))

    @field_validator("metric")
    @classmethod
    def _scores_the_target(cls, name: str, info: ValidationInfo) -> str:
        if own := OWN_METRIC.fullmatch(name):
            from podium.evaluation.metric_file import read_metric_file

            if not info.data.get("metric_code"):
                raise ValueError(f"there is no file {own['file']} next to the competition file, or it is empty")
            read_metric_file(name, info.data["metric_code"])
            return name
        if ".py" in name:
            raise ValueError(f"expected FILE.py:FUNCTION, a file next to the competition file, got {name!r}")
        metric, target = find_metric(name), info.data.get("target")  # no target if it is invalid
        fitting = [known for known, other in METRICS.items() if not target or target.kind in other.targets]
        if metric is None:
            raise ValueError(f"{name!r} is not a metric{nearest(name, fitting)}")
        if target and target.kind not in metric.targets:
            raise ValueError(f"{name} does not score the target {target.kind}; expected one of {', '.join(fitting)}")
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [*self._column_problems(), *self._channel_problems(), *self._submission_problems()]
        if self.folds.kind == "grouped" and self.train.group is None and not self.folds.groups:
            problems.append(("folds", "grouped folds need train.group, the column of groups, or folds.groups"))
        raise_key_problems(problems)
        return self

    def _column_problems(self) -> list[tuple[str, str]]:
        """Problems of the columns and folders that the truth is read from."""
        problems = []
        if self.metadata and self.train.table is None:
            problems.append(("metadata", "these are columns of a table: add train.table, or remove it"))
        answers = [self.train.label] if self.has_label_column else self._outputs
        problems += [
            (f"metadata.{name}", "this is what is predicted: remove it") for name in answers if name in self.metadata
        ]
        if isinstance(self.target, MultiLabel) and self.target.separator:
            separator = SEPARATORS[self.target.separator]
            problems += [
                ("classes", f"{label!r} contains the separator: expected single labels")
                for label in self.classes
                if label.split(separator) != [label]
            ]
        for key, source in (("train", self.train), *((f"extra.{n}", source) for n, source in enumerate(self.extra))):
            if self.target.kind in ("single_label", "binary", "ordinal"):
                continue
            if source.table is None:
                problems.append((f"{key}.table", f"missing required key: {self.target.kind} needs a table"))
            elif "{label}" in source.images:
                problems.append((f"{key}.images", f"{self.target.kind} has no single {{label}}: expected only {{id}}"))
            if source.label != DEFAULT_LABEL and not self.has_label_column:
                problems.append((f"{key}.label", f"the columns are {self._named_columns}: remove it"))
        return problems

    def _channel_problems(self) -> list[tuple[str, str]]:
        """Problems of the images whose channels are files of their own."""
        if isinstance(self.channels, int):
            return []
        problems = [] if self.train.table else [("train.table", "missing required key: channels in files need a table")]
        sources: dict[str, TrainSource | TestSource] = {
            "train": self.train,
            "test": self.test,
            **{f"extra.{n}": one for n, one in enumerate(self.extra)},
        }
        expected = "expected {channel} once and at the end, as in train/{id}_{channel}.png"
        return problems + [
            (f"{key}.images", f"{expected}, got {source.images!r}")
            for key, source in sources.items()
            if not Path(source.images).stem.endswith("{channel}") or source.images.count("{channel}") > 1
        ]

    def pattern_of(self, images: str) -> Pattern:
        """The pattern of a source's images; where each channel is a file, of those of the first channel."""
        pattern = Pattern.of(images)
        return pattern if isinstance(self.channels, int) else pattern.with_value("channel", self.channels[0])

    def _submission_problems(self) -> list[tuple[str, str]]:
        form, format_ = self.submission, self.submission_format
        found = form.problems(format_, self.target.kind, self.most_labels)
        problems = [(f"submission.{key}", message) for key, message in found]
        if not self.has_classes:
            return problems
        names, outputs = "target.columns" if self.target.kind == "regression" else "the classes", self._outputs
        known = set(outputs)
        unknown = [name for name in form.columns if name not in known][:MOST_LISTED]
        problems += [
            (f"submission.columns.{name}", f"{name!r} is not one of {names}{nearest(name, outputs)}")
            for name in unknown
        ]
        columns = [form.columns.get(name, name) for name in outputs]
        for column in repeated(columns):
            problems.append(("submission.columns", f"two of {names} have the same column {column!r}"))
        if format_ == "labels":
            split = [label for label in self.labels if self.label_separator in label]
            problems += [
                ("submission.separator", f"the class {label!r} contains it: choose another") for label in split
            ]
        return problems

    @property
    def submission_format(self) -> Format:
        kind = self.target.kind
        if self.submission.format is not None:
            return self.submission.format
        if self.metric.startswith("map@"):
            return "labels"
        if kind in ("binary", "multi_label") and make_metric(self.metric, code=self.metric_code).takes_answers:
            return "labels" if kind == "multi_label" and self.has_label_column else "indicators"
        return FORMATS[kind][0]

    @property
    def label_separator(self) -> str:
        """Between several labels of a submission."""
        own = self.target.separator if isinstance(self.target, MultiLabel) else None
        return SEPARATORS[self.submission.separator or own or "space"] or " "

    @property
    def most_labels(self) -> int | None:
        """How many of the most probable labels are submitted; None for those above their thresholds."""
        at = self.metric.removeprefix("map@") if self.metric.startswith("map@") else None
        return self.submission.most or (int(at) if at else None)

    @property
    def label_column(self) -> str:
        """The column of a submission that has the answer, if it is in one column."""
        return self.submission.label or self.train.label

    @property
    def answer_columns(self) -> list[str]:
        """The column of a submission for each prediction."""
        if self.target.kind == "binary" or (self.target.kind == "regression" and self.has_label_column):
            return [self.label_column]
        return [self.submission.columns.get(name, name) for name in self._outputs]

    @property
    def _outputs(self) -> list[str]:
        return (self.target.columns or []) if isinstance(self.target, Regression) else list(self.classes)

    @property
    def has_label_column(self) -> bool:
        """Whether the truth is in the one column `label` of a source."""
        target = self.target
        if isinstance(target, MultiLabel):
            return target.separator is not None
        if isinstance(target, Regression):
            return target.columns is None
        return target.kind != "soft_label"

    @property
    def _named_columns(self) -> str:
        return "those of target.columns" if self.target.kind == "regression" else "named like the classes"

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str]:
        """What a kernel attaches for the data."""
        return source_of(self.data_at_kaggle) or ("competition", self.slug)

    @property
    def reading(self) -> Reading:
        """How the image files are read."""
        if isinstance(self.channels, int):
            return Reading(self.intensity, self.pages, self.channels)
        return Reading(self.intensity, self.pages, len(self.channels), tuple(self.channels))

    @property
    def labels(self) -> list[str]:
        """The labels in the order of the model's outputs."""
        if not self.has_classes:
            raise ConfigError(
                f"the classes of {self.slug} are only known with its data: list them in the competition file, such as"
                " classes: [cat, dog]"
            )
        return list(self.classes)

    @property
    def has_classes(self) -> bool:
        """Whether the classes are known, or there are none; otherwise they are read from the data."""
        return bool(self.classes) or self.target.kind == "regression"
