"""`podium detect ...`: build datasets, train and evaluate detectors, detect and crop objects."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.commands import GROUPS
from podium.cli.options import (
    Data as CompetitionData,
)
from podium.cli.options import (
    Debug,
    DetectorFile,
    Json,
    Resume,
    Runs,
    Seed,
    TimeLimit,
    TrainedLimit,
    make_console,
    make_options,
    print_json,
    resume_command,
)
from podium.cli.queues import SUBMITTED, CpusPerRun, Detach, GpusPerRun, On, StorageOption, cluster_of, show_queue
from podium.detection.config import SPLITS, BoxChoice, CropMethod, CropOptions
from podium.detection.loading import load_detector
from podium.signals import StopCondition
from podium.workflows.detect import ExportedImages, ExportFormat

app = typer.Typer(no_args_is_help=True, help=GROUPS["detect"])
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="The folder with tables and images. Default: PODIUM_DATA, else data/<slug>.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the detector file, such as keep.group=true; repeatable.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Use only the first N training images.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="A quick test: few small images, one epoch per stage.")]
Threshold = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Confidence threshold of detections.", show_default=False),
]


@app.command("build")
def build(
    detector: DetectorFile,
    data: Data = None,
    runs: Runs = Path("runs"),
    time_limit: TimeLimit = None,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Build the dataset of a detector in RUNS/boxes/<slug>: select and clean boxes, find or download images, rotate
    them upright, and split.

    podium detect build configs/detectors/boats.yaml --data data/openimages
    """
    from podium.workflows.detect import build_dataset

    build_dataset(
        load_detector(detector, set_ or ()),
        data=data,
        runs=runs,
        console=make_console(),
        stop_condition=StopCondition(time_limit),
        command=resume_command(),
    )


@app.command("export")
def export(
    detector: DetectorFile,
    target: Annotated[Path, typer.Argument(metavar="PATH", help="A new folder; for transfer a file.")],
    form: Annotated[ExportFormat, typer.Option("--as", help="yolo, voc, coco; or transfer, a list of URLs.")],
    images: Annotated[ExportedImages, typer.Option(help="How to export images for yolo, voc and coco.")] = "copy",
    data: Data = None,
    runs: Runs = Path("runs"),
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Export a built dataset in the format of YOLO, Pascal VOC or COCO; or, without building it, the list of image URLs
    for a storage transfer service.

    podium detect export configs/detectors/boats.yaml exported/boats --as yolo
    """
    from podium.workflows.detect import export_dataset

    loaded = load_detector(detector, set_ or ())
    export_dataset(loaded, target, form, images=images, data=data, runs=runs, console=make_console())


@app.command("train")
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
    on: On = None,
    storage: StorageOption = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    detach: Detach = False,
    debug: Debug = False,
) -> None:
    """Train a detector on the dataset that was built for it.

    Ctrl-C or SIGTERM stop after the current step with a checkpoint and exit code 75; continue with --resume.

    podium detect train configs/detectors/boats.yaml
    """
    from podium.data.augmentation import transform_problems
    from podium.workflows.detect import train_detector

    loaded = load_detector(detector, set_ or (), seed, partial(transform_problems, takes_boxes=True))
    options, console = make_options(data, runs, None, limit, None, dry_run, resume, time_limit), make_console()
    if cluster := cluster_of(on, storage, cpus_per_run, gpus_per_run, detach, resume, time_limit):
        from podium.workflows.cluster import train_detector_on_cluster

        with show_queue(console) as show:
            if not train_detector_on_cluster(loaded, options, cluster, console, show, detector):
                console.print(SUBMITTED.format(options.command))
    else:
        train_detector(loaded, options, console)


@app.command("evaluate")
def evaluate(
    detector: DetectorFile,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="Evaluate only this part: train, validation or test; repeatable.", show_default=False
        ),
    ] = None,
    threshold: Threshold = None,
    data: Data = None,
    runs: Runs = Path("runs"),
    limit: TrainedLimit = None,
    dry_run: DryRun = False,
    set_: Set = None,
    seed: Seed = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Evaluate a trained detector: AP, and precision, recall, F1 and IoU at a confidence threshold, for each part.

    Without --threshold, the one with the best F1 on the validation part is used. The other options are those of
    podium detect train.

    podium detect evaluate configs/detectors/boats.yaml
    """
    from rich.console import Console

    from podium.workflows.detect import evaluate_detector

    if unknown := [name for name in part or () if name not in SPLITS]:
        raise typer.BadParameter(f"expected {', '.join(SPLITS)}, got {unknown[0]!r}", param_hint="--part")
    options = make_options(data, runs, None, limit, None, dry_run)
    console = Console(stderr=True, quiet=True) if json else make_console()
    loaded = load_detector(detector, set_ or (), seed)
    evaluation = evaluate_detector(loaded, options, console, parts=part or SPLITS, threshold=threshold)
    if json:
        print_json(evaluation.to_json())


@app.command("predict")
def predict(
    detector: DetectorFile,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Images and folders of images.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for boxes.csv, coco.json and drawn/.")] = Path(
        "detections"
    ),
    threshold: Threshold = None,
    draw: Annotated[bool, typer.Option(help="Draw the boxes on copies of the images.")] = True,
    runs: Runs = Path("runs"),
    set_: Set = None,
    seed: Seed = None,
    debug: Debug = False,
) -> None:
    """Detect objects in images: boxes as CSV and COCO JSON, in pixels of each image, and drawn on copies.

    Without --threshold, the one chosen by podium detect evaluate is used, else 0.5.

    podium detect predict configs/detectors/boats.yaml holiday/ --out detections
    """
    from podium.detection.detector_run import find_trained
    from podium.workflows.detect import detect_objects

    trained = find_trained(load_detector(detector, set_ or (), seed), runs)
    detect_objects(trained, images, out, threshold=threshold, draw=draw, console=make_console())


@app.command("crop")
def crop(
    competition: Annotated[
        Path,
        typer.Argument(
            metavar="COMPETITION.yaml", help="A competition file, such as configs/competitions/podium-demo-cars.yaml."
        ),
    ],
    detector: Annotated[
        Path | None, typer.Option(metavar="DETECTOR.yaml", help="A trained detector.", show_default=False)
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Instead of a detector: known boxes, or boxes.csv of podium detect predict.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A new folder for images and tables. Default: data/<new slug>.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The new competition file. Default: competition.yaml in the folder.",
            show_default=False,
        ),
    ] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="The class to crop to. Default: the only class.", show_default=False
        ),
    ] = None,
    how: Annotated[
        CropMethod, typer.Option(help="Crop to the object, or make its background blurred, grey or black.")
    ] = "crop",
    margin: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="Margin on each side, as a share of the box's width and height.")
    ] = 0.1,
    square: Annotated[
        bool | None,
        typer.Option(
            "--square/--no-square",
            help="Extend the box to a square inside the image, without stretching.",
            show_default="with --how crop",
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(min=0.0, max=1.0, help="Minimum score of a box.")] = 0.3,
    choose: Annotated[
        BoxChoice,
        typer.Option(help="Of several boxes: the highest score, the largest, or the highest score times area."),
    ] = "both",
    size: Annotated[
        int | None,
        typer.Option(metavar="PX", min=8, help="Shrink images with a longer side than this.", show_default=False),
    ] = None,
    data: CompetitionData = None,
    runs: Runs = Path("runs"),
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As in podium detect train; repeatable.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="As in podium detect train.", show_default=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """Crop every image of a competition to its main object, or remove the background, and write a new competition with
    the same rows and folds. An image without a detected object is not changed.

    podium detect crop configs/competitions/podium-demo-cars.yaml --detector configs/detectors/demo_cars.yaml
    """
    from podium.workflows.detect_crop import crop_competition

    if (detector is None) == (boxes is None):
        raise typer.BadParameter("expected one of them", param_hint="--detector, --boxes")
    if boxes is not None and (set_ or seed is not None):
        raise typer.BadParameter("need --detector", param_hint="--set, --seed")
    is_square = how == "crop" if square is None else square
    crop_competition(
        competition,
        CropOptions(class_name or "", how, choose, threshold, margin, is_square, size),
        detector=load_detector(detector, set_ or (), seed) if detector else None,
        boxes=boxes,
        out=out,
        config=config,
        data=data,
        runs=runs,
        console=make_console(),
    )


@app.command("import-log")
def import_log(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="The output of `darknet detector train`.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder for the table and charts. Default: runs/darknet/<name of the log>.",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Convert the log of a darknet training to a table, log.csv, and charts of its loss, IoU and mAP.

    podium detect import-log train.log --out runs/darknet/boats
    """
    from podium.workflows.detect import import_darknet_log

    import_darknet_log(log, out, make_console())
