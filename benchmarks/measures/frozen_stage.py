"""A frozen stage of five epochs with MobileNetV2, compared with Keras's guide. Every round has a different seed.

Both start with the files and end with a validated head. The augmentation is the guide's: a flip, and a rotation of up
to 36 degrees.
"""

from statistics import mean
from typing import Any

from benchmarks.figures import Figure, Outcome, Row, column, details, ratios
from benchmarks.images import ImageSet
from benchmarks.plan import Bench
from benchmarks.rounds import Candidate, Machine, Results

EPOCHS = 5
WHAT = "frozen stage, 5 epochs"
TARGET = "at least 5 times as fast, validation accuracy within 0.5 points"


def member(bench: Bench) -> dict[str, Any]:
    return bench.member(
        "MobileNetV2",
        unfreeze="none",
        epochs=EPOCHS,
        image_size=bench.plan.frozen_size,
        learning_rate=1e-3,
        member={
            "head": {"pooling": "avg", "dropout": 0.2},
            "augmentation": ["HorizontalFlip", {"Rotate": {"limit": 36, "border_mode": 4, "p": 1.0}}],
        },
    )


def measure(bench: Bench, machine: Machine) -> Outcome:
    rows, lines, raw = [], [], {}
    for images in bench.sets(bench.plan.frozen):
        candidates = [
            Candidate(
                "podium",
                "benchmarks.podium_side:stage",
                lambda number, _, folder=str(images.folder): {
                    "folder": folder,
                    "member": member(bench),
                    "seed": number,
                },
            ),
            Candidate("keras_guide", "benchmarks.peers.keras_guide:frozen_stage", _guide(bench, images)),
        ]
        results = machine.run_rounds(candidates, bench.plan.rounds, f"frozen stage, {images.name}")
        rows.append(_row(images, results, bench.weights is not None))
        counts = images.counts
        weights = "ImageNet weights" if bench.weights else "random weights"
        lines += details(
            f"Frozen stage, {images.name}: MobileNetV2 at {bench.plan.frozen_size} px, {weights},"
            f" {counts.training:,} images for training, {counts.validation:,} for validation",
            results,
            {"seconds": "seconds", "accuracy": "validation accuracy after the last epoch"},
        )
        raw[images.name] = results
    return Outcome(rows, lines, raw)


def _guide(bench: Bench, images: ImageSet):
    def arguments(number: int, _) -> dict:
        return {
            "training": str(images.training),
            "validation": str(images.validation),
            "size": bench.plan.frozen_size,
            "epochs": EPOCHS,
            "weights": str(bench.weights.resolve()) if bench.weights else None,
            "seed": number,
        }

    return arguments


def _row(images: ImageSet, results: Results, is_pretrained: bool) -> Row:
    mine, theirs = results["podium"], results["keras_guide"]
    times = ratios(column(theirs, "seconds"), column(mine, "seconds"))
    accuracies = [100 * mean(column(rounds, "accuracy")) for rounds in (mine, theirs)]
    is_as_good = not is_pretrained or accuracies[0] >= accuracies[1] - 0.5  # random weights: chance
    return Row(
        WHAT,
        images.name,
        TARGET,
        f"{Figure.of(column(mine, 'seconds')).format(' s')}, accuracy {accuracies[0]:.1f} %",
        f"keras_guide: {Figure.of(column(theirs, 'seconds')).format(' s')}, accuracy {accuracies[1]:.1f} %",
        times.median,
        (times.least, times.most),
        times.median >= 5 and is_as_good,
    )
