"""The schema of a backbone: a model of keras.applications, efficientnet or podium by name, or a KerasHub preset."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from podium.config.backbones import BACKBONES, SMALLEST
from podium.config.kaggle_names import KaggleKind, KaggleSource, is_at_kaggle, source_of
from podium.config.problems import one_of, raise_key_problems
from podium.config.settings import Positive, Settings

FirstKernel = Literal["mean", "repeat"]
StochasticDepth = Annotated[float, Field(ge=0.0, lt=1.0)] | None
NAMED_WEIGHTS = ("imagenet", "noisy-student", "none")


class BackboneSettings(Settings):
    """The backbone and its weights."""

    name: str
    """A model of keras.applications, of the package efficientnet, or SmallResNet."""
    weights: str = "imagenet"
    """imagenet, noisy-student, none (trained from scratch), a path (relative to the working directory, or absolute), or
    a file at Kaggle, `kaggle-dataset:<owner>/<slug>/<file>`, `kaggle-kernel:…` or
    `kaggle-model:<owner>/<model>/<framework>/<variation>/<version>/<file>`, which kernels attach."""
    freeze_batchnorm: bool = True
    """Keep the statistics of the backbone's BatchNormalization layers, also in layers that are trained."""
    alpha: Positive | None = None
    """Width multiplier of the MobileNets and SmallResNet."""
    channels: FirstKernel = "mean"
    """The first kernel for images of other than three channels: the mean of its three channels for each channel, or,
    for more than three, these in turn (repeat)."""
    stochastic_depth: StochasticDepth = None
    """The probability that the last block is skipped for an image in training; earlier blocks are skipped less often.
    0.2 by default for the EfficientNets, 0 for ConvNeXt; other models have none."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return one_of(name, BACKBONES, "a backbone")

    @field_validator("weights")
    @classmethod
    def _are_known_or_a_path(cls, weights: str) -> str:
        if is_at_kaggle(weights):
            found = KaggleSource.parse(weights)
            if found is None or found.kind == "competition" or not found.path:
                raise ValueError(
                    "expected kaggle-dataset:<owner>/<slug>/<file>, kaggle-kernel:<owner>/<slug>/<file> or"
                    " kaggle-model:<owner>/<model>/<framework>/<variation>/<version>/<file>, such as"
                    f" kaggle-kernel:ada/podium-weights/Xception-imagenet.weights.h5, got {weights!r}"
                )
            return weights
        is_a_path = bool(set(weights) & set("/\\."))
        return weights if is_a_path else one_of(weights, NAMED_WEIGHTS, "the name of weights or a path to a file")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = []
        row = BACKBONES[self.name]
        if self.weights == "noisy-student" and self.weights not in row.weights:
            message = "noisy-student weights exist for efficientnet.EfficientNetB0 to B7"
            problems.append(("weights", f"{message}, not for {self.name}"))
        elif self.weights == "imagenet" and self.weights not in row.weights:
            problems.append(("weights", f"{self.name} has no imagenet weights: use none, or a path to a file"))
        if self.alpha is not None and not row.widths:
            problems.append(("alpha", f"{self.name} has no width multiplier, only the MobileNets have: remove it"))
        if self.stochastic_depth is not None and not row.has_stochastic_depth:
            message = f"{self.name} has no stochastic depth, only the EfficientNets and ConvNeXt have: remove it"
            problems.append(("stochastic_depth", message))
        raise_key_problems(problems)
        return self

    @property
    def label(self) -> str:
        """For messages."""
        return self.name

    @property
    def weights_are_a_path(self) -> bool:
        """Whether the weights are a local file."""
        return self.weights not in NAMED_WEIGHTS and self.kaggle_source is None

    @property
    def is_fetched(self) -> bool:
        """Whether the weights are downloaded from the internet."""
        return self.weights in NAMED_WEIGHTS and not self.has_random_weights

    @property
    def has_random_weights(self) -> bool:
        return self.weights == "none"

    @property
    def minimum_size(self) -> int:
        """The smallest image size, in pixels."""
        return BACKBONES[self.name].minimum_size

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str] | None:
        """The dataset, kernel or model that has the weights, for a kernel to attach."""
        return source_of(self.weights)

    @property
    def kaggle_file(self) -> str | None:
        """The file's path within that source."""
        found = KaggleSource.parse(self.weights)
        return found.path if found else None


class PresetSettings(Settings):
    """A KerasHub preset as the backbone; its image converter scales the images."""

    preset: str
    """A KerasHub preset such as resnet_50_imagenet or dinov3_vit_small_lvd1689m; a handle, `kaggle://...` or `hf://...`;
    the path of a folder written by `save_to_preset`, absolute or relative to the working directory; or such a folder on
    Kaggle, `kaggle-dataset:<owner>/<slug>/<folder>`, `kaggle-kernel:...` or
    `kaggle-model:<owner>/<model>/<framework>/<variation>/<version>`, which is attached to the kernel."""
    weights: Literal["pretrained", "none"] = "pretrained"
    """none: the preset's architecture, trained from scratch."""
    freeze_batchnorm: bool = True
    """Freeze the BatchNormalization layers of the backbone, even when the layers around them are trainable."""
    channels: FirstKernel = "mean"
    """The first kernel for images of other than three channels: the mean of its three channels for each channel, or,
    for more than three, these in turn (repeat)."""
    stochastic_depth: StochasticDepth = None
    """The probability that the last block is skipped for an image in training, for presets that have it: DINOV2,
    DINOV3, EfficientNet, MiT and MobileNetV5."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        keys = value if isinstance(value, dict) else {}
        conflicts = [key for key in ("name", "weights", "alpha") if key in keys]
        if keys.get("weights") in ("pretrained", "none"):
            conflicts.remove("weights")
        if conflicts:
            override = f"backbone={{preset: {value['preset']}}}"
            message = f"cannot be combined with {', '.join(conflicts)}: use one of them (--set '{override}')"
            raise_key_problems([("preset", message)])
        return value

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, preset: str) -> str:
        place = KaggleSource.parse(preset)
        if is_at_kaggle(preset) and (place is None or place.kind == "competition"):
            raise ValueError(
                "expected kaggle-dataset:<owner>/<slug>/<folder>, kaggle-kernel:<owner>/<slug>/<folder> or"
                " kaggle-model:<owner>/<model>/<framework>/<variation>/<version>, such as"
                f" kaggle-kernel:ada/podium-weights-boats/resnet_50_imagenet, got {preset!r}"
            )
        if not preset or ("://" in preset and not preset.startswith(("kaggle://", "hf://"))):
            raise ValueError(
                "expected a KerasHub preset such as resnet_50_imagenet, a kaggle:// or hf:// handle, or a folder"
                f" written by save_to_preset, got {preset!r}"
            )
        return preset

    @property
    def label(self) -> str:
        """For messages."""
        return f"preset {self.preset}"

    @property
    def is_a_folder(self) -> bool:
        """Whether it is a local path; names of KerasHub presets contain no slash."""
        is_a_path = "/" in self.preset or "\\" in self.preset or self.preset.startswith(".")
        return is_a_path and "://" not in self.preset and self.kaggle_source is None

    @property
    def is_fetched(self) -> bool:
        """Whether its files are downloaded from the internet."""
        return not self.is_a_folder and self.kaggle_source is None

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str] | None:
        """The dataset, kernel or model to attach, as its kind and name."""
        return source_of(self.preset)

    @property
    def kaggle_folder(self) -> str:
        """The path of the folder within that source."""
        place = KaggleSource.parse(self.preset)
        return place.path if place else ""

    @property
    def has_random_weights(self) -> bool:
        return self.weights == "none"

    @property
    def minimum_size(self) -> int:
        return SMALLEST


STAND_IN = BackboneSettings(name="SmallResNet", weights="none")
"""The backbone of a dry run in place of a preset that is not on this machine."""


AnyBackbone = BackboneSettings | PresetSettings


def _backbone_tag(value: Any) -> str:
    is_preset = isinstance(value, PresetSettings) or (isinstance(value, dict) and "preset" in value)
    return "preset" if is_preset else "named"


BackboneChoice = Annotated[
    Annotated[BackboneSettings, Tag("named")] | Annotated[PresetSettings, Tag("preset")], Discriminator(_backbone_tag)
]
