"""Where the files of a KerasHub preset are: a folder, a mounted Kaggle Model, KerasHub's cache or the internet."""

from pathlib import Path

from podium.config.backbone_settings import PresetSettings
from podium.config.backbones import PresetKinds
from podium.config.kaggle_names import MODEL_NAME
from podium.config.problems import nearest
from podium.errors import ConfigError, WeightsError
from podium.paths import kaggle_places


def place_of(settings: PresetSettings) -> str:
    """The name, handle or folder that KerasHub loads it from; in a kernel, the folder of its Kaggle Model."""
    if settings.kaggle_source is not None:
        places = [place / settings.kaggle_folder for place in kaggle_places(*settings.kaggle_source)]
        found = next((place for place in places if place.is_dir()), None)
        if found is None:
            raise WeightsError(
                f"{settings.preset} is not mounted: looked in {' and '.join(map(str, places))}; run on Kaggle, where it"
                " is attached, or use a local copy: --set backbone.preset=FOLDER"
            )
        return str(found)
    mounted = _mounted_model(settings) if settings.is_fetched else None
    return str(mounted or settings.preset)


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


def _known_presets() -> dict[str, dict[str, object]]:
    import keras_hub

    presets: dict[str, dict[str, object]] = keras_hub.models.Backbone.presets
    return presets


def _mounted_model(settings: PresetSettings) -> Path | None:
    """The folder where Kaggle mounts the preset's model, in this version or another one."""
    name = kaggle_model(settings)
    places = kaggle_places("model", name) if name else []
    found = [path for place in places for path in (place, *sorted(place.parent.glob("[0-9]*"))) if path.is_dir()]
    return found[0] if found else None
