"""A detector's backbone: one of podium's table, or a preset of KerasHub in its place."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Tag, field_validator, model_validator

from podium.config.backbones import SMALLEST
from podium.config.kaggle_place import KaggleKind, KagglePlace, is_at_kaggle
from podium.config.member import BackboneSettings
from podium.config.problems import raise_key_problems
from podium.config.settings import Settings
from podium.errors import RunError, WeightsError
from podium.files import digest_of, digest_of_file, read_json
from podium.models import weights

CONFIG, CONVERTER, WEIGHTS = "config.json", "image_converter.json", "model*.weights.*"
"""What is read of a preset's folder, as KerasHub names it."""
HANDLES = ("kaggle://", "hf://")
STAND_IN = BackboneSettings(name="SmallResNet", weights="none")
"""What a dry run builds where a preset is not on this machine: what that would build, only the preset itself says."""


class PresetSettings(Settings):
    preset: str
    """KerasHub's own name, such as resnet_50_imagenet; a handle as KerasHub takes it, `kaggle://…` or `hf://…`; a path
    to a folder that `save_to_preset` wrote (seen from where podium is run, or absolute); or such a folder at Kaggle:
    `kaggle-dataset:<owner>/<slug>/<folder>`, or `kaggle-kernel:` the same, which a kernel's metadata then attaches."""
    freeze_batchnorm: bool = True
    """BatchNormalization of the backbone keeps the preset's statistics, also where its neighbours learn."""

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        twice = [key for key in ("name", "weights", "alpha") if isinstance(value, dict) and key in value]
        if twice:
            whole = f"backbone={{preset: {value['preset']}}}"
            raise_key_problems([("preset", f"it takes the place of {', '.join(twice)}: keep one (--set '{whole}')")])
        return value

    @field_validator("preset")
    @classmethod
    def _says_where(cls, preset: str) -> str:
        place = KagglePlace.parse(preset)
        if is_at_kaggle(preset) and (place is None or place.kind == "competition"):
            raise ValueError(
                "expected kaggle-dataset:<owner>/<slug>/<folder> or kaggle-kernel:<owner>/<slug>/<folder>, such as"
                f" kaggle-kernel:ada/podium-weights-boats/resnet_50_imagenet: got {preset!r}"
            )
        if not preset or ("://" in preset and not preset.startswith(HANDLES)):
            raise ValueError(
                "expected a name of KerasHub's, such as resnet_50_imagenet, kaggle://… or hf://…, or a folder that"
                f" save_to_preset wrote: got {preset!r}"
            )
        return preset

    @property
    def is_a_folder(self) -> bool:
        """On this machine. KerasHub's own names are one word."""
        is_a_path = "/" in self.preset or "\\" in self.preset or self.preset.startswith(".")
        return is_a_path and "://" not in self.preset and self.kaggle_source is None

    @property
    def is_fetched(self) -> bool:
        """From the internet."""
        return not self.is_a_folder and self.kaggle_source is None

    @property
    def kaggle_source(self) -> tuple[KaggleKind, str] | None:
        """What a kernel has to attach for it: a dataset or a kernel, and its owner/slug."""
        place = KagglePlace.parse(self.preset)
        return place.source if place else None

    @property
    def kaggle_folder(self) -> str:
        """The folder's path within that source."""
        place = KagglePlace.parse(self.preset)
        return place.inside if place else ""

    @property
    def begins_at_random(self) -> bool:
        return False

    @property
    def minimum_size(self) -> int:
        return SMALLEST

    def rehearsed(self) -> "PresetSettings | BackboneSettings":
        """As a dry run builds it, without anything that is not on this machine."""
        return self if self.is_a_folder else STAND_IN


def _kind(value: Any) -> str:
    is_a_preset = isinstance(value, PresetSettings) or (isinstance(value, dict) and "preset" in value)
    return "preset" if is_a_preset else "named"


DetectorBackbone = Annotated[
    Annotated[BackboneSettings, Tag("named")] | Annotated[PresetSettings, Tag("preset")], Discriminator(_kind)
]


def fingerprint(name: str, backbone: BackboneSettings | PresetSettings) -> str | None:
    """Of a weights file or a preset's folder: the same path with other weights is another run."""
    if isinstance(backbone, BackboneSettings):
        return weights.fingerprint(name, backbone)
    if not backbone.is_a_folder:
        return backbone.preset if backbone.kaggle_source else None
    folder = Path(backbone.preset)
    try:
        is_a_preset = "registered_name" in read_json(folder / CONFIG)
    except RunError:
        is_a_preset = False
    files = sorted(folder.glob(WEIGHTS))
    if not is_a_preset or not files:
        raise WeightsError(
            f"{name}: no preset of KerasHub in {folder}; give a folder that save_to_preset wrote, with {CONFIG} and the"
            " weights, or one of KerasHub's names, such as backbone.preset: resnet_50_imagenet (needs internet)"
        )
    files = [folder / CONFIG, folder / CONVERTER, *files]
    return digest_of([[file.name, digest_of_file(file)] for file in files if file.is_file()])
