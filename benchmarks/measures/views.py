"""Predicting a test set in five views, compared with `predict` alone on as many arrays in memory.

Both start with a built model and include tracing its graph. podium also predicts the validation images, as `podium
predict` does; the arrays are as many as the validation and the test images, five times.
"""

from typing import Any

from benchmarks.figures import Outcome, column, compared, details
from benchmarks.plan import Bench
from benchmarks.rounds import Candidate, Machine

WHAT, TARGET = "five views of a test set, compared with predict alone", "at most 8 % slower"
VIEWS = ["identity", "horizontal_flip", {"scale": 1.1}, {"rotate": 5}, {"brightness": 0.1}]


def measure(bench: Bench, machine: Machine) -> Outcome:
    images = bench.drawn_set(bench.plan.views)
    size = bench.plan.views_size
    member = bench.member(
        bench.plan.backbone, unfreeze="none", epochs=1, image_size=size, learning_rate=1e-3, member={"tta": VIEWS}
    )
    given = {"folder": str(images.folder), "member": member}
    seen = len(VIEWS) * (images.counts.validation + images.counts.test)

    def bare(_: int, before: Any) -> dict[str, Any]:
        return given | {"precision": before["podium"]["precision"], "images": seen}

    candidates = [
        Candidate("podium", "benchmarks.podium_side:stage", lambda seed, _: given | {"seed": seed, "predict": True}),
        Candidate("predict alone", "benchmarks.bounds.train_steps:predict_seconds", bare),
    ]
    results = machine.run_rounds(candidates, bench.plan.rounds, f"views, {images.name}")
    mine, theirs = column(results["podium"], "prediction_seconds"), column(results["predict alone"], "seconds")
    row = compared(WHAT, images.name, TARGET, mine, theirs, "predict alone", at_most=1.08, unit=" s")
    shown = {
        "podium": [{"seconds": value} for value in mine],
        "podium, including building the model, loading and writing": [
            {"seconds": result["predict_seconds"]} for result in results["podium"]
        ],
        "predict alone": results["predict alone"],
    }
    lines = details(
        f"Five views, {images.name}: {bench.plan.backbone} at {size} px, {seen:,} images predicted",
        shown,
        {"seconds": "seconds"},
    )
    return Outcome([row], lines, results)
