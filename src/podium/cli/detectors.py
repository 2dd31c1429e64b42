"""`podium detect train`, `evaluate` and `predict`: a detector, from its set to boxes on any image."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.options import (
    Debug,
    DetectorFile,
    Resume,
    Runs,
    Seed,
    TimeLimit,
    make_console,
    make_options,
)
from podium.detection.detector_run import detector_run, evaluate_detector, find_trained, tell_evaluation
from podium.detection.loading import load_detector
from podium.training.run_training import train_run

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Where tables and images lie. Else PODIUM_DATA, else data/<slug>.", show_default=False
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Train on the first N images of the train part only.", show_default=False),
]
AsTrained = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="As it was for podium detect train.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="The whole chain, small: few images, one epoch a stage.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change the detector file for this run, such as stages.0.learning_rate=1e-4; may be said again.",
        show_default=False,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="The score from which on a box counts.", show_default=False),
]


def train(
    detector: DetectorFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    limit: Limit = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    time_limit: TimeLimit = None,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Train a detector on the set that was built for it, stage after stage.

    Ctrl-C or SIGTERM stop it after the step under way, saved, with exit code 75; --resume goes on.

    podium detect train configs/detectors/boats.yaml
    """
    from podium.data.augmentation import transform_problems

    console = make_console()
    options = make_options(data, runs, None, limit, None, dry_run, resume, time_limit)
    check = partial(transform_problems, takes_boxes=True)
    one = detector_run(load_detector(detector, set_ or (), seed, check), options, console)
    if one.run.is_trained:
        console.print(f"{one.name}: already trained with this config, skipped ({one.run.path})")
    else:
        train_run(one, console)
    best = one.run.state["best"]
    console.print(f"{one.name}: {best['monitor']} {best['score']:.4f} on its validation part  {one.run.path}")


def evaluate(
    detector: DetectorFile,
    part: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="train, validation or test; say it again for more. Else all three."),
    ] = None,
    threshold: Threshold = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    limit: AsTrained = None,
    dry_run: DryRun = False,
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Tell what a trained detector is worth: AP, and from a score on precision, recall, F1 and IoU, part beside part.

    Without --threshold it is the score with the best F1 on the validation part.

    podium detect evaluate configs/detectors/boats.yaml
    """
    from podium.detection.dataset import SPLITS

    console = make_console()
    strange = [name for name in part or () if name not in SPLITS]
    if strange:
        raise typer.BadParameter(f"expected {', '.join(SPLITS)}: got {strange[0]!r}", param_hint="--part")
    options = make_options(data, runs, None, limit, None, dry_run)
    one = detector_run(load_detector(detector, set_ or (), seed), options, console)
    figures, folder = evaluate_detector(one, part or SPLITS, threshold, console)
    tell_evaluation(one, figures, folder, console)


def predict(
    detector: DetectorFile,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Images, and folders of them.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A folder for boxes.csv, coco.json and drawn/.")] = Path(
        "found"
    ),
    threshold: Threshold = None,
    draw: Annotated[bool, typer.Option(help="Draw the boxes on copies of the images.")] = True,
    runs: Runs = Path("runs"),
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Find the objects in images: boxes as CSV and COCO JSON, in pixels of each image, and drawn on it.

    Without --threshold it is the score that podium detect evaluate chose, else 0.5.

    podium detect predict configs/detectors/boats.yaml holiday/ --out found
    """
    from podium.workflows.detect_predict import find_in_images

    console = make_console()
    trained = find_trained(load_detector(detector, set_ or (), seed), runs)
    find_in_images(trained, images, out, threshold, draw, console)
