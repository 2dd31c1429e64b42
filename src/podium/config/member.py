"""The schema of a member file: one model of an ensemble, from its backbone to its test-time augmentation."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from podium.config.backbone_settings import BackboneChoice, PresetSettings
from podium.config.competition import Competition
from podium.config.extra import Extra, HardExamples, Teacher
from podium.config.loss import LOSSES, SMOOTHED, Balance, ClassWeights, Focal, Loss
from podium.config.metadata import MetadataSettings
from podium.config.problems import nearest, raise_key_problems
from podium.config.reading import RGB
from podium.config.search import SearchValues
from podium.config.settings import Count, FoldNumbers, NotInDigest, Positive, Settings
from podium.config.stage import Stage, TrainingSettings


class Head(Settings):
    """The layers between the backbone and the predictions."""

    pooling: Literal["avg", "max", "gem", "token"] = "avg"
    """Average, maximum, or generalised mean with a trainable exponent, of a transformer over its patches. token: the
    class token of a transformer, or what a backbone such as SigLIP's computes of all patches itself."""
    batchnorm: bool = False
    """Add BatchNormalization after the pooling."""
    dense: list[Count] = []
    """The units of each Dense layer before the last one."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The share of features that is dropped before the last layer."""
    dropout_samples: Count = 1
    """Train with so many dropout masks for each image, and the mean of their losses."""
    l2: Annotated[float, Field(ge=0.0)] = 0.0
    """L2 regularization of the Dense layers' kernels."""

    @model_validator(mode="after")
    def _samples_have_dropout(self) -> Self:
        if self.dropout_samples > 1 and not self.dropout:
            raise_key_problems([("dropout_samples", "without dropout all samples are the same: set dropout")])
        return self


View = Any
"""`identity`, `horizontal_flip`, `{scale: 1.15}`, `{centre_crop: 0.9}`, `{corner_crops: 0.9}` (four views),
`{rotate: 8}`, `{brightness: 0.1}`, any Albumentations transform, or a list of these, applied in order."""

AUTO_VIEWS: list[View] = [
    "identity",
    "horizontal_flip",
    {"scale": 1.1},
    {"centre_crop": 0.85},
    {"rotate": 5},
    {"rotate": -5},
    {"brightness": 0.1},
]


class TestTimeViews(Settings):
    """Test-time augmentation: `none`, `auto`, a list of views, or these keys."""

    views: Annotated[list[View], Field(min_length=1)] = ["identity"]
    """identity, horizontal_flip, {scale: 1.15}, {centre_crop: 0.9}, {corner_crops: 0.9}, {rotate: 8},
    {brightness: 0.1}, an Albumentations transform, or a list of these, applied in order."""
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    """How the predictions of the views are averaged."""
    select: Literal["all", "auto"] = "all"
    """auto: use only the views that improve the out-of-fold score."""
    image_sizes: list[Count] = []
    """Sizes to predict at, of which the one with the best out-of-fold score is used; by default that of the training.
    Models often predict better at a size somewhat above it."""
    average_sizes: bool = False
    """Use all image_sizes: average their predictions, as those of views."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"views": value}
        if value == "none":
            return {}
        if value == "auto":
            return {"views": AUTO_VIEWS, "select": "auto"}
        if not isinstance(value, dict | TestTimeViews):
            raise ValueError(f"expected none, auto or a list of views, got {value!r}")
        return value

    @model_validator(mode="after")
    def _views_exist(self) -> Self:
        parts = [part for view in self.views for part in (view if isinstance(view, list) else [view])]
        messages = [message for part in parts if (message := _problem_of_view(part))]
        if [] in self.views:
            messages.append("empty view: expected one or more names in the list")
        if not messages:
            messages += [message for view in self.views if (message := _problem_of_order(view))]
        repeated = [view for position, view in enumerate(self.views) if view in self.views[:position]]
        messages += [f"duplicate view {view}" for view in repeated]
        problems = [("", message) for message in messages]
        if self.average_sizes and len(self.image_sizes) < 2:
            problems.append(("average_sizes", f"expected two or more image_sizes, got {len(self.image_sizes)}"))
        raise_key_problems(problems)
        return self

    def problems_with(self, competition: Competition) -> list[tuple[str, str]]:
        """What does not fit the competition's target, as (key, message)."""
        if self.mean == "geometric" and competition.target.kind == "regression":
            return [("tta.mean", "numbers have no geometric mean: use arithmetic")]
        return []


_LIMITS = {"scale": (0.3, 3.0), "centre_crop": (0.3, 1.0), "corner_crops": (0.3, 1.0), "rotate": (-180.0, 180.0),
           "brightness": (-1.0, 1.0)}  # fmt: skip
_CROPS = ("scale", "centre_crop", "corner_crops")
_WITHOUT_VALUE = ("identity", "horizontal_flip")


def _problem_of_order(view: Any) -> str | None:
    """A crop is cut out of the image before it is transformed."""
    names = [view_part(part)[0] for part in (view if isinstance(view, list) else [view])]
    if "rotate" in names and (late := [name for name in names[names.index("rotate") :] if name in _CROPS]):
        return f"a crop comes before rotate: put {late[0]} before it"
    return None


def _problem_of_view(part: Any) -> str | None:
    try:
        name, value = view_part(part)
    except ValueError as error:
        return str(error)
    if name[:1].isupper():  # an Albumentations transform, which `data/augmentation.py` checks
        return None
    if name in _WITHOUT_VALUE:
        return None if value is None else f"the view {name} takes no value, got {value!r}"
    if name not in _LIMITS:
        return f"{name!r} is not a view{nearest(name, [*_WITHOUT_VALUE, *_LIMITS])}"
    low, high = _LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        example = f"such as {{{name}: {high / 2:g}}}, got {value!r}"
        return f"the view {name} takes a number from {low:g} to {high:g}, {example}"
    return None


def view_part(part: Any) -> tuple[str, Any]:
    """The name and value of a part of a view; the value is None for a name alone."""
    if isinstance(part, str):
        return part, None
    if not isinstance(part, dict) or len(part) != 1:
        raise ValueError(f"expected a view as a name with its value, such as {{scale: 1.1}}, got {part}")
    name, value = next(iter(part.items()))
    return str(name), value


class Neighbours(Settings):
    """Predict the labels of the training images with the most similar features."""

    count: Count = 20
    """How many images vote."""
    temperature: Positive = 0.1
    """Lower gives the most similar ones more weight: it is exp(cosine / temperature)."""


class MemberSettings(TrainingSettings):
    """One model of an ensemble, from its backbone to its test-time augmentation."""

    competition: Annotated[str, NotInDigest]
    """The competition file, relative to this file."""
    folds: Annotated[FoldNumbers | None, NotInDigest] = None
    """Which of the competition's folds to train; all by default."""
    extra: list[Extra] = []
    """More rows, which every fold trains on and none validates on."""
    teacher: Teacher | None = None
    """Train on a mixture of the truth and an ensemble's out-of-fold predictions."""
    hard: HardExamples | None = None
    """Train more often on the rows that an ensemble gets wrong."""
    backbone: BackboneChoice
    """The pretrained model, and its weights."""
    head: Head = Head()
    """The layers that are added to it."""
    metadata: MetadataSettings | None = None
    """Columns of the competition's metadata as a second input: all, a list of columns, or with the units of the Dense
    layers between them and the head, such as {columns: [age, sex], units: [32]}."""
    loss: Loss | None = None
    """By default the first that fits the target. single_label: categorical_crossentropy, focal, arcface; binary and
    multi_label: binary_crossentropy, focal, asymmetric; ordinal: ordinal_crossentropy, categorical_crossentropy, focal;
    regression: mse, mae, huber, binary_crossentropy; soft_label: kl_divergence, categorical_crossentropy, focal. Its
    kind alone, or with its own keys, such as {kind: huber, delta: 0.5}."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """With the categorical and the binary cross-entropy, the focal loss and arcface."""
    class_weights: ClassWeights | None = None
    """How much the rows of a class count in the training loss. balanced: every class counts as much as the others;
    sqrt: half the way there; or a weight for each class, 1 for those that are not named. Of multi_label, the weight of
    the images with the class."""
    sampling: Balance | None = None
    """How often the rows of a class are drawn. balanced: every class as often as the others; sqrt: in proportion to the
    square root of its rows. An epoch has as many rows as before."""
    resize: Literal["squash", "crop", "pad"] = "squash"
    """How an image becomes square: change its aspect ratio, crop it at the centre, or pad it."""
    augmentation_scale: Annotated[float, Field(ge=1.0, le=4.0)] = 1.0
    """Augment images of so many times the image size, and then scale them to it: random crops keep their detail."""
    stages: Annotated[list[Stage], Field(min_length=1)]
    monitor: Literal["metric", "loss"] = "metric"
    """What selects the best weights: the competition's metric or the loss, both on the validation rows."""
    soup: Annotated[list[str], Field(min_length=2)] | None = None
    """Finished runs whose weights are averaged instead of training, such as [xception-1a2b3c4d, xception-5e6f7a8b]; the
    other keys are those of the best of them. `podium soup` writes it."""
    tta: Annotated[TestTimeViews, NotInDigest] = TestTimeViews()
    """Test-time augmentation: none, auto, or a list of views."""
    neighbours: Annotated[Neighbours | None, NotInDigest] = None
    """Predict with the labels of the most similar training images instead of the last layer: {} or {count: 50}."""
    search: Annotated[dict[str, SearchValues], NotInDigest] = {}
    """What `podium search` varies: keys as for --set, such as stages.0.learning_rate, and their values."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if message := self.problem_of_sizes(self.tta):
            raise_key_problems([("tta.image_sizes", message)])
        return self

    def problem_of_sizes(self, tta: TestTimeViews) -> str | None:
        """What is wrong with the image sizes of predictions."""
        smallest, least = self.backbone.minimum_size, min(tta.image_sizes, default=None)
        if least is None or least >= smallest:
            return None
        return f"{self.backbone.label} takes images of {smallest} pixels or more, got {least}"

    @model_validator(mode="after")
    def _pooling_fits(self) -> Self:
        if self.head.pooling == "token" and not isinstance(self.backbone, PresetSettings):
            message = f"{self.backbone.name} has no class token: use avg, max or gem"
            raise_key_problems([("head.pooling", message)])
        return self

    def problems_of_stage(self, stage: Stage) -> list[tuple[str, str]]:
        smallest = self.backbone.minimum_size
        if stage.image_size >= smallest:
            return []
        return [
            ("image_size", f"{self.backbone.label} takes images of {smallest} pixels or more, got {stage.image_size}")
        ]

    def size_to_augment(self, stage: Stage) -> int:
        return round(stage.image_size * self.augmentation_scale)

    @property
    def predicting(self) -> dict[str, Any]:
        """What decides its predictions besides its weights, as plain data."""
        return self.model_dump(mode="json", include={"tta", "neighbours"})

    @property
    def places(self) -> list[str]:
        """Where its extra rows are."""
        return [place for extra in self.extra for place in extra.places]

    @property
    def adds_rows(self) -> bool:
        """Whether it is trained on more than the rows and labels of the competition."""
        return bool(self.extra or self.teacher or self.hard)

    @property
    def labels(self) -> list[str]:
        """The ensembles whose labels it is trained on."""
        of_test = [extra.pseudo for extra in self.extra if extra.pseudo]
        return list(dict.fromkeys([*of_test, *(part.ensemble for part in (self.teacher, self.hard) if part)]))

    def problems_with(self, competition: Competition) -> list[tuple[str, str]]:
        """What does not fit the competition, as (key, message)."""
        target = competition.target
        problems: list[tuple[str, str]] = []
        fitting = LOSSES[target.kind]
        loss = self.loss.kind if self.loss else fitting[0]
        if loss not in fitting:
            problems.append(("loss", f"{loss} does not fit the target {target.kind}{nearest('', fitting)}"))
        elif loss == "binary_crossentropy" and target.kind == "regression" and target.range is None:
            problems.append(("loss", "binary_crossentropy of numbers needs their range: set target.range, or use mse"))
        elif self.label_smoothing and (loss not in SMOOTHED or target.kind == "regression"):
            problems.append(("label_smoothing", f"{loss} of {target.kind} has no label smoothing: remove it"))
        for number, extra in enumerate(self.extra):
            problems += [(f"extra.{number}.{key}", message) for key, message in extra.problems_with(competition)]
        if self.backbone.channels != "mean" and competition.reading.channels == RGB:
            problems.append(("backbone.channels", "the images have three channels: remove it"))
        problems += self.metadata.problems(competition.metadata) if self.metadata else []
        if isinstance(self.loss, Focal) and self.loss.alpha and target.kind not in ("binary", "multi_label"):
            problems.append(("loss.alpha", f"{target.kind} has no positives: use class_weights"))
        for key, part in (("teacher", self.teacher), ("hard", self.hard)):
            found = part.problems_with(target.kind) if part else []
            problems += [(f"{key}.{below}".rstrip("."), message) for below, message in found]
        return problems + self._problems_of_balance(competition) + self.tta.problems_with(competition)

    def _problems_of_balance(self, competition: Competition) -> list[tuple[str, str]]:
        if competition.target.kind == "regression":
            given = [key for key in ("class_weights", "sampling") if getattr(self, key) is not None]
            return [(key, "regression has no classes: remove it") for key in given]
        if not isinstance(self.class_weights, dict) or not competition.classes:
            return []
        labels = list(competition.classes)
        unknown = [label for label in self.class_weights if label not in labels]
        return [(f"class_weights.{label}", f"{label!r} is not a class{nearest(label, labels)}") for label in unknown]
