"""Soups: a member whose weights are the mean of finished runs of one architecture, chosen greedily on each fold.

`podium soup` writes its member file, so a soup is predicted and blended like any member. Instead of training it, its
weights are made of the runs that its key `soup` names.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from podium.config.loss import ArcFace
from podium.config.resolved import read_resolved, resolved_member
from podium.config.yaml_file import to_yaml
from podium.errors import ConfigError, RunError, shortened
from podium.evaluation.metrics import metric_of
from podium.files import digest_of_file, write_json, write_text
from podium.locks import locked
from podium.options import RunOptions
from podium.runs import Run, runs_in
from podium.training.run_training import import_libraries
from podium.workflows.fold_runs import FoldRun, fold_images

SOUP = "soup.json"
"""What was chosen, and the scores."""


def write_soup_member(folders: Sequence[Path], file: Path | None, options: RunOptions) -> tuple[Path, list[int]]:
    """Write the member file of a soup of these runs; returns its path and the folds that all of them have."""
    runs = [run for folder in folders for run in runs_in(folder)]
    outside = [run.path for run in runs if run.path.resolve().parents[1] != options.runs.resolve()]
    if outside:
        raise RunError(f"{outside[0]} is not in the folder {options.runs}: expected runs of one folder, see --runs")
    names = list(dict.fromkeys(run.path.resolve().parent.name for run in runs))
    folds = {name: sorted({_fold(run) for run in runs if run.path.resolve().parent.name == name}) for name in names}
    if len(names) < 2:
        raise RunError("a soup needs two or more runs, such as those of several seeds or learning rates")
    if any(folds[name] != folds[names[0]] for name in names):
        listed = ", ".join(f"{name}: {' '.join(map(str, numbers))}" for name, numbers in folds.items())
        raise RunError(f"expected the same folds of all runs, got {listed}")
    for fold in folds[names[0]]:
        check_runs_fit([run for run in runs if _fold(run) == fold])
    best = _best(runs)
    member = resolved_member(best)
    name = f"{member.name}_soup"
    file = file or Path("configs/members") / f"{name}.yaml"
    if not (file.parent / member.settings.competition).is_file():
        raise ConfigError(
            f"{file}: {member.settings.competition}, the competition file of {best.path}, is not found from there:"
            " write the soup into the folder of the other member files (--out FILE.yaml)"
        )
    settings = member.settings.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"search", "soup"})
    content = {"soup": names, **settings}
    text = f"# A soup of finished runs, with the settings of the best, {best.path}.\n{to_yaml(content)}"
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{file} exists with another content: choose another file with --out, or remove it")
    write_text(file, text)
    return file, folds[names[0]]


def _fold(run: Run) -> int:
    name = run.path.resolve().name
    if not re.fullmatch(r"fold[0-9]{1,6}", name):
        raise RunError(f"{run.path} is not the folder of a fold; expected a name such as fold0")
    return int(name.removeprefix("fold"))


def _best(runs: Sequence[Run]) -> Run:
    best = {run: run.best for run in runs}
    monitors = {content["monitor"] for content in best.values()}
    if len(monitors) > 1:
        raise RunError(f"the runs were scored differently ({', '.join(sorted(monitors))}); expected one monitor")
    metric = metric_of(resolved_member(runs[0]).competition)
    is_higher_better = metric.higher_is_better and monitors != {"val_loss"}
    return (max if is_higher_better else min)(runs, key=lambda run: best[run]["score"])


def make_soup(fold_run: FoldRun, console: Console) -> None:
    """Choose and write the weights of one fold of a soup."""
    settings, run = fold_run.settings, fold_run.run
    sources = [Run(fold_run.options.runs / name / run.path.name) for name in settings.soup or ()]
    if missing := [str(source.path) for source in sources if not source.is_trained]:
        raise RunError(
            f"{fold_run.name} is a soup of runs that are not trained: {', '.join(missing)}; train them first"
        )
    check_runs_fit(sources)
    if read_resolved(sources[0])["inputs"]["folds"] != fold_run.resolved["inputs"]["folds"]:
        raise RunError(
            f"{sources[0].path} was trained with other folds than the competition's present ones: train again"
        )
    import_libraries()
    from podium.data.folds import stratified_halves
    from podium.data.targets import target_of
    from podium.training.soup import write_soup

    for source in sources:
        source.check_best_weights()
    best = sources[0].best
    console.print(f"{fold_run.name}: a soup of {len(sources)} runs, in {run.path}", highlight=False)
    with locked(run.path):
        run.start(fold_run.resolved, fold_run.folds_file)
        if sources[0].recipe.is_file():
            shutil.copyfile(sources[0].recipe, run.recipe)
        with run.timed("training"):
            files = [source.best_weights for source in sources]
            stage, size = settings.stages[-1], int(best["image_size"])
            task = fold_run.task(Console(quiet=True))
            target = target_of(fold_run.member.competition)
            halves = stratified_halves(target.strata(fold_images(fold_run)[1].truth), settings.seed)
            soup = write_soup(task, files, stage, size, best.get("precision", "float32"), halves, run.best_weights)
        chosen = [sources[number].path.parent.name for number in soup.chosen]
        write_json(run.path / SOUP, {**asdict(soup), "chosen": chosen})
        of_best = {**best, "stage": "soup", "epoch": 0, "score": soup.score, "file": run.best_weights.name}
        of_best |= {"digest": digest_of_file(run.best_weights), "monitor": task.monitor}
        run.update_state(status="trained", stage="soup", epoch=1, epochs=1, best=of_best)
    single = (max if task.mode == "max" else min)(soup.scores)
    console.print(
        f"  {len(chosen)} of {len(sources)} runs: {task.monitor} {soup.score:.4f}, the best run alone {single:.4f}:"
        f" {', '.join(chosen)}\n  chosen on the same rows, so these scores are optimistic: {soup.honest_score:.4f} if"
        " each half of the rows is scored with the soup of the other half",
        highlight=False,
    )


def check_runs_fit(sources: Sequence[Run]) -> None:
    """Raise an error that names every difference that prevents averaging the weights."""
    facts = [_facts(source) for source in sources]
    different = {key: [fact[key] for fact in facts] for key in facts[0] if any(f[key] != facts[0][key] for f in facts)}
    if different:
        texts = {key: " / ".join(shortened(str(value)) for value in values) for key, values in different.items()}
        parts = "; ".join(f"{key} {text}" for key, text in texts.items())
        names = ", ".join(str(source.path) for source in sources)
        raise RunError(f"these runs cannot be averaged, because they differ: {parts} (of {names})")


def _facts(source: Run) -> dict[str, Any]:
    """What has to be the same in all runs of a soup."""
    content, member = read_resolved(source), resolved_member(source)
    competition = content["competition"]
    backbone = member.settings.backbone.model_dump(mode="json", include={"name", "preset", "alpha"}, exclude_none=True)
    head = member.settings.head.model_dump(mode="json", include={"pooling", "batchnorm", "dense"})
    loss = member.settings.loss
    return {
        "backbone": " ".join(map(str, backbone.values())),
        "head": head,
        "last layer": loss.model_dump(include={"centres", "scale"}) if isinstance(loss, ArcFace) else None,
        "metadata": [content["member"].get("metadata"), competition.get("metadata")],
        "channels": competition.get("channels"),
        "image size": source.best["image_size"],
        "resize": member.settings.resize,
        "fold": content["fold"],
        "folds": content["inputs"]["folds"],
        "classes": content["inputs"]["labels"],
        "target": member.competition.target.kind,
        "metric": member.competition.metric,
        "monitor": source.best["monitor"],
        "preset": digest_of_file(source.recipe) if source.recipe.is_file() else None,
    }
