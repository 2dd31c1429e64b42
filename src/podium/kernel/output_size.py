"""How large a kernel's output can get. Kaggle keeps at most 20 GB of the working folder.

The caches are outside of that folder.
"""

from collections.abc import Iterable, Iterator

from podium.config.backbone_settings import PresetSettings
from podium.config.backbones import MILLIONS_OF_PARAMETERS
from podium.config.loading import Member, fold_count
from podium.config.stage import Stage
from podium.errors import BundleError
from podium.kernel.job import Job, Model

MAX_GB = 20.0
_STATES = 2
"""Arrays of an optimizer for each weight, at most: the two moments of Adam."""
_CHECKPOINTS = 3
"""Of a training in progress, each with the best weights so far: the newest two, and the one being written."""
_DETECTOR_MILLIONS = 20.0
"""Parameters of the feature pyramid and the heads."""


def check_output_size(job: Job, models: Iterable[Model]) -> None:
    """Raise a BundleError if the checkpoints and weights of all folds may exceed what Kaggle keeps."""
    runs = [run for model in models for run in _runs_of(job, model)] if job.trains else []
    if not runs:
        return
    # All but one are finished and have only their best weights.
    total = sum(weights for weights, _ in runs) + max(in_progress - weights for weights, in_progress in runs)
    if total > MAX_GB:
        way_out = "push a kernel for each fold (podium fleet up)" if len(runs) > 1 else "use a smaller backbone"
        raise BundleError(
            f"the runs of this kernel ({len(runs)}) may take {total:.1f} GB, and Kaggle keeps at most {MAX_GB:.0f} GB"
            f" of output: {way_out}"
        )


def _runs_of(job: Job, model: Model) -> Iterator[tuple[float, float]]:
    """For each fold, the GB of its run folder when it is finished, and at most while it is trained."""
    folds = 1
    if isinstance(model, Member):
        folds = len(job.folds or model.settings.folds or range(fold_count(model.competition) or 1))
    weights = _weights_gb(model)
    arrays = 1 + _STATES + max(map(_more_arrays, model.settings.stages), default=0)
    for _ in range(folds):
        yield weights, _CHECKPOINTS * (arrays + 1) * weights


def _more_arrays(stage: Stage) -> int:
    """For each weight: one of moving averages, one of accumulated gradients, and one of each averaged epoch."""
    return (stage.ema is not None) + (stage.accumulate is not None) + (stage.average.count if stage.average else 0)


def _weights_gb(model: Model) -> float:
    """Of the model in float32. The head of a classifier is small."""
    backbone = model.settings.backbone
    if isinstance(backbone, PresetSettings):
        from podium.models.preset_places import preset_millions

        millions = preset_millions(backbone)
    else:
        millions = MILLIONS_OF_PARAMETERS[backbone.name] * max(1.0, backbone.alpha or 1.0) ** 2
    return (millions + (0.0 if isinstance(model, Member) else _DETECTOR_MILLIONS)) * 4e6 / 1e9
