"""podium: Keras ensembles for image competitions, from a folder of images to a checked submission.

The Python API. The command line calls the same functions. Each name is imported on first use, so that `import podium`
takes no time; docs/api.md shows how they work together.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "200000000")  # OpenCV reads it when it is imported

if TYPE_CHECKING:
    from podium.config.competition import Competition
    from podium.config.loading import make_ensemble
    from podium.errors import PodiumError, StoppedError
    from podium.workflows.blend import blend
    from podium.workflows.check import check_submission
    from podium.workflows.compare import compare
    from podium.workflows.configs import load_competition, load_ensemble, load_member, make_member
    from podium.workflows.model import build_model
    from podium.workflows.predict import predict
    from podium.workflows.predict_images import predict_images
    from podium.workflows.report import report
    from podium.workflows.run import run
    from podium.workflows.submit import submit
    from podium.workflows.train import train

__all__ = [
    "Competition",
    "PodiumError",
    "StoppedError",
    "blend",
    "build_model",
    "check_submission",
    "compare",
    "load_competition",
    "load_ensemble",
    "load_member",
    "make_ensemble",
    "make_member",
    "predict",
    "predict_images",
    "report",
    "run",
    "submit",
    "train",
]

_MODULES = {
    "Competition": "config.competition",
    "PodiumError": "errors",
    "StoppedError": "errors",
    "blend": "workflows.blend",
    "build_model": "workflows.model",
    "check_submission": "workflows.check",
    "compare": "workflows.compare",
    "load_competition": "workflows.configs",
    "load_ensemble": "workflows.configs",
    "load_member": "workflows.configs",
    "make_ensemble": "config.loading",
    "make_member": "workflows.configs",
    "predict": "workflows.predict",
    "predict_images": "workflows.predict_images",
    "report": "workflows.report",
    "run": "workflows.run",
    "submit": "workflows.submit",
    "train": "workflows.train",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'podium' has no attribute {name!r}")
    return getattr(import_module(f"podium.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
