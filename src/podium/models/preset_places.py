"""Where the files of a KerasHub preset are: a folder, a mounted Kaggle Model, KerasHub's cache or the internet."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.config.backbone_settings import AnyBackbone, PresetSettings
from podium.config.backbones import PresetKinds
from podium.config.kaggle_names import MODEL_NAME
from podium.config.problems import nearest
from podium.errors import ConfigError, WeightsError
from podium.paths import kaggle_places, kerashub_cache

DESCRIPTION_FILES = ("config.json", "image_converter.json")
"""How a preset's backbone is built and its images are scaled."""


def place_of(settings: PresetSettings) -> str:
    """The name, handle or folder that KerasHub loads it from; in a kernel, the folder of its Kaggle Model."""
    if settings.preset.startswith("hf://") and find_spec("huggingface_hub") is None:
        raise WeightsError(f"the preset {settings.preset} needs huggingface_hub: pip install 'podium-kit[hf]'")
    if settings.kaggle_source is not None:
        places = [place / settings.kaggle_folder for place in kaggle_places(*settings.kaggle_source)]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise WeightsError(
                f"{settings.preset} is not mounted: looked in {' and '.join(map(str, places))}; run on Kaggle, where it"
                " is attached, or use a local copy: --set backbone.preset=FOLDER"
            )
        return str(found)
    return str(_local_model(settings) or settings.preset)


def is_at_hand(settings: PresetSettings) -> bool:
    """Whether a preset of KerasHub or Kaggle can be built without internet, with random weights."""
    return settings.kaggle_source is None and _local_model(settings) is not None


def print_preset_of_dry_run(full: AnyBackbone, small: AnyBackbone, console: Console) -> None:
    """Say what a dry run has instead of a preset that it does not download."""
    if not isinstance(full, PresetSettings) or small == full:
        return
    if isinstance(small, PresetSettings):
        console.print(f"  {full.label} with random weights in a dry run", highlight=False)
        return
    reason = "is on Kaggle" if full.kaggle_source else "is not cached, and a dry run downloads nothing"
    console.print(f"  {small.name} instead of the {full.label}, which {reason}", highlight=False)


def kaggle_model(settings: PresetSettings) -> str | None:
    """The Kaggle Model of a KerasHub preset (owner/model/framework/variation/version); None if none is known."""
    handle = settings.preset
    if "://" not in handle:
        handle = _known_presets().get(handle, {}).get("kaggle_handle", "")
    name = handle.removeprefix("kaggle://")
    return name if MODEL_NAME.fullmatch(name) else None


def preset_millions(settings: PresetSettings) -> float:
    """How many million parameters the backbone has; 0 if KerasHub does not know the preset."""
    return float(_known_presets().get(settings.preset, {}).get("metadata", {}).get("params", 0)) / 1e6


def check_preset_name(settings: PresetSettings, kinds: PresetKinds) -> None:
    """Check the name of a KerasHub preset before anything is downloaded."""
    name = settings.preset
    if not settings.is_fetched or "://" in name:
        return
    import keras_hub

    supported = sorted({name for kind in kinds.names for name in getattr(keras_hub.models, f"{kind}Backbone").presets})
    if name in supported:
        return
    if name in _known_presets():
        raise ConfigError(f"KerasHub's preset {name} is not supported; {kinds.expected}")
    hint = f"; for the folder of that name use ./{name}" if Path(name).is_dir() else nearest(name, supported)
    raise ConfigError(f"KerasHub has no preset {name!r}{hint}")


def _known_presets() -> dict[str, dict[str, Any]]:
    import keras_hub

    presets: dict[str, dict[str, Any]] = keras_hub.models.Backbone.presets
    return presets


def _local_model(settings: PresetSettings) -> Path | None:
    """The folder where Kaggle mounts the preset's model, in this version or another one; for random weights also the
    one in KerasHub's cache."""
    name = kaggle_model(settings) if settings.is_fetched else None
    if name is None:
        return None
    places = [path for place in kaggle_places("model", name) for path in (place, *sorted(place.parent.glob("[0-9]*")))]
    places = [path for path in places if path.is_dir()]
    cached = kerashub_cache() / name
    if settings.has_random_weights and all((cached / file).is_file() for file in DESCRIPTION_FILES):
        places.append(cached)
    return places[0] if places else None
