"""Predicting a test set through five views, against bare `predict` on as many arrays that are ready.

Both clocks start with a built model and hold the making of its graph. podium predicts the validation images too, as
`podium predict` does; the arrays are as many as those and the test images together, five times.
"""

from typing import Any

from benchmarks.figures import Outcome, column, compared, details
from benchmarks.plan import Bench
from benchmarks.rounds import Contender, Machine

WHAT, TARGET = "five views over a test set against bare predict", "at most 8 % slower"
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

    contenders = [
        Contender("podium", "benchmarks.podium_side:stage", lambda turn, _: given | {"seed": turn, "predict": True}),
        Contender("bare predict", "benchmarks.bounds.train_steps:predict_seconds", bare),
    ]
    results = machine.in_turns(contenders, bench.plan.turns, f"views, {images.name}")
    mine, theirs = column(results["podium"], "prediction_seconds"), column(results["bare predict"], "seconds")
    row = compared(WHAT, images.name, TARGET, mine, theirs, "bare", at_most=1.08, unit=" s")
    shown = {
        "podium": [{"seconds": value} for value in mine],
        "podium, with building the model, loading, writing": [
            {"seconds": turn["predict_seconds"]} for turn in results["podium"]
        ],
        "bare predict": results["bare predict"],
    }
    lines = details(
        f"Five views, {images.name}: {bench.plan.backbone} at {size} px, {seen:,} images predicted",
        shown,
        {"seconds": "seconds"},
    )
    return Outcome([row], lines, results)
