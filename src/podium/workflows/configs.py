"""Load and make configs with all checks, the arguments of augmentations included."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.config import loading
from podium.config.competition import Competition
from podium.config.loading import Ensemble, Member
from podium.config.yaml_file import Overrides

if TYPE_CHECKING:
    from podium.config.loading import ExtraCheck


def load_competition(path: str | Path) -> Competition:
    """Load a competition file.

    Raises:
        ConfigError: With all problems of the file.
    """
    return loading.load_competition(Path(path))


def load_member(path: str | Path, overrides: Overrides = (), seed: int | None = None) -> Member:
    """Load a member file and its competition file.

    Args:
        path: The file, such as "configs/members/xception.yaml".
        overrides: Changes of the config, such as `{"head.dropout": 0.4, "stages.1.learning_rate": 1e-4}`.
        seed: Replaces the config's seed.

    Raises:
        ConfigError: With all problems of the files and the overrides.
    """
    return loading.load_member(Path(path), overrides, seed, _augmentation_check())


def load_ensemble(path: str | Path, overrides: Overrides = (), seed: int | None = None) -> Ensemble:
    """Load an ensemble file, its member files and their competition file.

    Args:
        path: The file, such as "configs/ensembles/sf_dl_cars.yaml".
        overrides: Changes of the ensemble (`{"blend": "hill_climb"}`), of a member (`{"xception.tta": "auto"}`) or of
            all members (`{"*.head.dropout": 0.3}`).
        seed: Replaces the seeds of the configs.

    Raises:
        ConfigError: With all problems of the files and the overrides.
    """
    return loading.load_ensemble(Path(path), overrides, seed, _augmentation_check())


def make_member(name: str, settings: Mapping[str, Any], competition: Competition) -> Member:
    """A member without a file.

    Args:
        name: The name of its run folders.
        settings: The keys of a member file, except `competition`.
        competition: From `load_competition`, or a `Competition(slug=…, …)` with the keys of a competition file.

    Raises:
        ConfigError: With all problems of the settings.
    """
    return loading.make_member(name, settings, competition, _augmentation_check())


def _augmentation_check() -> "ExtraCheck":
    from podium.data.augmentation import transform_problems  # imports Albumentations

    return transform_problems
