"""Pretrained weights: what a kernel attaches for them, what it has to download, and a kernel that only downloads them.

A kernel without internet needs them as files: in a dataset, a Kaggle Model, or the output of a kernel with internet.
"""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.config.backbone_settings import AnyBackbone, PresetSettings
from podium.config.backbones import DETECTOR_PRESETS, MEMBER_PRESETS
from podium.config.kaggle_names import KaggleKind
from podium.detection.loading import Detector
from podium.errors import ConfigError
from podium.kernel.job import Job, Model, load_config
from podium.models.preset_places import check_preset_name, kaggle_model
from podium.options import RunOptions


def source_of_weights(model: Model) -> tuple[KaggleKind, str] | None:
    """What a kernel attaches: the source that the config names, or the Kaggle Model of a KerasHub preset."""
    backbone = model.settings.backbone
    if isinstance(backbone, PresetSettings) and backbone.is_fetched:
        check_preset_name(backbone, DETECTOR_PRESETS if isinstance(model, Detector) else MEMBER_PRESETS)
        name = kaggle_model(backbone)
        return ("model", name) if name else None
    return backbone.kaggle_source


def pretrained(models: Iterable[Model]) -> list[Model]:
    """The models that start from pretrained weights."""
    return [model for model in models if not model.settings.backbone.has_random_weights]


def downloaded(models: Iterable[Model]) -> list[Model]:
    """The models whose weights a kernel has to download from the internet."""
    return [model for model in models if model.settings.backbone.is_fetched and source_of_weights(model) is None]


def describe_weights(model: Model) -> str:
    backbone = model.settings.backbone
    if isinstance(backbone, PresetSettings):
        return f"{backbone.preset} ({model.name})"
    return f"{backbone.weights} weights of {backbone.name} ({model.name})"


def download_problem(models: Iterable[Model], configs: Sequence[Path], job: Job, owner: str) -> str:
    """What a kernel without internet lacks, and the ways out; empty if it lacks nothing."""
    lacking = downloaded(models) if job.trains else []
    if not lacking:
        return ""
    overrides = tuple(override for override in job.overrides if "backbone" in override.partition("=")[0])
    kernel = Job(kind="weights", config=configs[0].name, overrides=overrides).title
    changes = [word for override in overrides for word in ("--set", override)]
    command = shlex.join(["podium", "kernel", "push", "--weights", *map(str, configs), *changes])
    options = []
    for model in lacking:
        name, prefix = _file_name(model.settings.backbone), f"{model.name}." if job.kind == "ensemble" else ""
        options.append(f"--set {prefix}{config_key(name)}=kaggle-kernel:{owner}/{kernel}/{name}")
    return (
        f"the kernel has no internet and would have to download {', '.join(map(describe_weights, lacking))}: turn the"
        f" internet on with --internet; or download them once with {command}, and when that kernel is complete add"
        f" {' '.join(options)}; or set the same key to a file in a Kaggle Model"
        " (kaggle-model:<owner>/<model>/<framework>/<variation>/<version>/<file>) or in a dataset"
        " (kaggle-dataset:<owner>/<slug>/<file>, uploaded with podium data push DIR)"
    )


def pretrained_files(models: Iterable[Model]) -> dict[str, AnyBackbone]:
    """The backbones of these models that need a download, by the name of their weights file or preset folder."""
    backbones: list[AnyBackbone] = [model.settings.backbone for model in models]
    files = {_file_name(backbone): backbone for backbone in backbones if backbone.is_fetched}
    if not files:
        raise ConfigError("no config needs pretrained weights from the internet: there is nothing to download")
    return files


def _file_name(backbone: AnyBackbone) -> str:
    if isinstance(backbone, PresetSettings):
        return backbone.preset.rpartition("://")[2].replace("/", "-")
    width = "" if backbone.alpha is None else f"-{backbone.alpha:g}"
    return f"{backbone.name}{width}-{backbone.weights}.weights.h5"


def config_key(name: str) -> str:
    """The config key that takes this weights file or preset folder."""
    return "backbone.weights" if name.endswith(".weights.h5") else "backbone.preset"


def run(job: Job, configs: Path, options: RunOptions, console: Console) -> dict[str, Any]:
    """Save the pretrained weights and presets of the job's configs. Return the report."""
    overrides = job.overrides_in(configs)
    loaded = [load_config(configs / name, overrides, job.seed) for name in (job.config, *job.more_configs)]
    files = pretrained_files(model for config in loaded for model in job.models_of(config))
    for name, backbone in files.items():
        _save(backbone, Path(name))
        parts = [path for path in (Path(name), *Path(name).rglob("*")) if path.is_file()]
        console.print(f"{name}: {sum(path.stat().st_size for path in parts):,} bytes")
    return {"status": "done", "weights": list(files)}


def _save(backbone: AnyBackbone, path: Path) -> None:
    from podium.models.backbone import build_backbone
    from podium.models.presets import save_preset

    if isinstance(backbone, PresetSettings):
        save_preset(backbone, path)
    else:
        # Without the top layers, weights do not depend on the image size; every family accepts 224.
        build_backbone(backbone, 224).save_weights(path)
