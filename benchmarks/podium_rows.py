"""The parts of podium whose cost depends on the rows: tables, folds, runs, submissions, the memory of a training."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

CLASSES = [str(number) for number in range(10)]
QUIET = Console(quiet=True)
STEPS = 20


def memory(kind: str) -> int:
    """Memory of this process in bytes, as Linux reports it: RssAnon is current, VmHWM the maximum."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {kind}")


def _member(size: int) -> Any:
    from podium.config.loading import load_member

    competition = {
        "slug": "many-rows",
        "train": {"table": "train.csv", "images": "train/{label}/{id}"},
        "test": {"images": "test_upload/{id}"},
        "classes": CLASSES,
        "metric": "accuracy",
    }
    stage = {"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 32, "image_size": size, "learning_rate": 1e-3}
    Path("competition.yaml").write_text(yaml.safe_dump(competition))
    member = {
        "competition": "competition.yaml",
        "backbone": {"name": "SmallResNet", "weights": "none", "alpha": 0.25},
        "augmentation": ["HorizontalFlip"],
        "stages": [stage],
    }
    Path("member.yaml").write_text(yaml.safe_dump(member))
    return load_member(Path("member.yaml").resolve())


def rows(folder: str, count: int) -> dict[str, Any]:
    """Seconds of each step for this many rows, and the memory in use when training could start."""
    import podium.inference.predict
    import podium.training.classification  # noqa: F401

    member, data = _member(32), Path(folder)
    seconds: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        seconds[name] = time.perf_counter() - start
        return result

    gc.collect()
    before = memory("RssAnon")
    kept = _planned(member, data, timed)
    gc.collect()
    after = memory("RssAnon")
    del kept
    _submission(count, timed)
    return {"seconds": sum(seconds.values()), "bytes_per_row": (after - before) / count, **seconds}


def _planned(member: Any, data: Path, timed: Callable[[str, Callable[[], Any]], Any]) -> Any:
    from podium.data.folds import make_folds
    from podium.data.table import read_rows
    from podium.data.unlabelled import find_test_set
    from podium.options import RunOptions
    from podium.workflows.fold_runs import fold_images, fold_runs, rows_to_predict
    from podium.workflows.prepare import Prepared

    options = RunOptions(data=data, runs=Path("runs"))
    competition = member.competition
    read, test = timed("reading", lambda: (read_rows(competition, data), find_test_set(competition, data)))
    folds = timed("folds", lambda: make_folds(competition, read, options.runs))
    prepared = Prepared(competition, read, folds, lambda: test)
    runs = timed("plan", lambda: fold_runs(member, prepared, options))
    return read, folds, runs, timed("rows of a fold", lambda: (fold_images(runs[0]), rows_to_predict(runs[0])))


def _submission(count: int, timed: Callable[[str, Callable[[], Any]], Any]) -> None:
    """A submission with labels, for this many test rows."""
    from podium.submission.check import find_problems
    from podium.submission.spec import SubmissionSpec
    from podium.submission.write import write_submission

    sample, ids = Path("sample.csv"), [f"{number:08}.jpg" for number in range(count)]
    sample.write_text("Id,Category\n" + "".join(f"{name},0\n" for name in ids))
    probs = np.random.default_rng(0).dirichlet(np.ones(len(CLASSES)), size=count)
    spec = SubmissionSpec(sample=sample, format="label", id_column="Id", answer_columns=["Category"], labels=CLASSES)
    path = timed("writing", lambda: write_submission(spec, ids, probs, folder=Path("out"), name="many"))
    problems = timed("checking", lambda: find_problems(path, spec))
    assert not problems, problems


def training_memory(folder: str) -> dict[str, Any]:
    """The memory of a training on all images of a folder, for the first steps.

    Everything that depends on the number of rows is in memory from the first step on.
    """
    from podium.data.image_cache import Cache
    from podium.data.targets import target_of
    from podium.evaluation.metrics import metric_of
    from podium.options import RunOptions
    from podium.training.classification import ClassificationTask
    from podium.training.optimizers import make_optimizer
    from podium.workflows.fold_runs import fold_images, fold_runs
    from podium.workflows.prepare import prepare

    member, options = _member(32), RunOptions(data=Path(folder), runs=Path("runs"), folds=(0,))
    settings, competition = member.settings, member.competition
    start = time.perf_counter()
    (fold_run,) = fold_runs(member, prepare(competition, options, QUIET), options)
    training, validation = fold_images(fold_run)
    cache = Cache(competition.slug, settings.cache_gb, QUIET)
    task = ClassificationTask(
        settings,
        target_of(competition),
        metric_of(competition),
        training,
        validation,
        fold_run.fold,
        cache=cache,
    )
    (stage,) = settings.stages
    model = task.build(stage.image_size, pretrained=True)
    task.unfreeze(model, stage)
    task.compile(model, make_optimizer(stage, task.backbone(model)))
    batches = task.batches(0, stage)
    for step in range(min(STEPS, len(batches))):
        model.train_on_batch(*batches[step])
    gc.collect()
    return {"most": memory("VmHWM"), "kept": memory("RssAnon"), "seconds": time.perf_counter() - start}
