"""Configs and tables of a competition that are broken or hostile."""

import numpy as np
import pytest
import yaml
from boxed_images import DETECTOR, STAGE
from mutations import LONG, SHORT, TEXTS, Reader, check_read, try_variants
from rich.console import Console

from podium.config.loading import load_competition, load_ensemble, load_member
from podium.data.folds import make_folds
from podium.data.table import read_rows
from podium.detection.loading import load_detector
from podium.options import RunOptions
from podium.predictions import Predictions, read_predictions, write_predictions
from podium.submission.check import find_problems
from podium.submission.ledger import COLUMNS, Ledger
from podium.submission.spec import SubmissionSpec
from podium.workflows.ensemble_labels import EnsembleLabels
from podium.workflows.prepare import prepare

OOF = "id,label,fold,p_0,p_1\na,0,0,0.25,0.75\nb,1,1,1,0\n"
LEDGER = {
    "time": "2026-01-31T12:00:00Z", "competition": "tiny-squares", "file": "a.csv", "sha256": "0" * 64,
    "metric": "accuracy", "cross_validation": "0.5", "public_score": "0.5", "place": "3", "teams": "10",
    "status": "complete", "ref": "1",
    "marker": "0123456789ab",
}  # fmt: skip


def _competition(tiny):
    return tiny.config, lambda: load_competition(tiny.config)


def _member(tiny):
    path = tiny.member(
        augmentation=["HorizontalFlip", {"Rotate": {"limit": 20}}], tta=["identity"], head={"dropout": 0.2}
    )
    return path, lambda: load_member(path)


def _ensemble(tiny):
    members = [tiny.member("first"), tiny.member("second", seed=7)]
    path = tiny.ensemble(members, folds=[0, 1])
    return path, lambda: load_ensemble(path)


def _detector(tiny):
    path = tiny.config.parent / "squares.yaml"
    path.write_text(yaml.safe_dump(DETECTOR | {"stages": [STAGE]}))
    return path, lambda: load_detector(path)


def _train(tiny):
    tiny = tiny.change(train={"table": "train.csv", "images": "train/{label}/{id}", "group": "Day"}, metadata=METADATA)
    return tiny.folder / "train.csv", lambda: read_rows(tiny.competition, tiny.folder)


METADATA = {"Day": "category"}


def _numbers(tiny):
    rows = [f"{'0123'[row % 4]}/{row:04}.jpg,{row}.5" for row in range(24)]
    (tiny.folder / "train.csv").write_text("Id,Category\n" + "\n".join(rows) + "\n")
    content = yaml.safe_load(tiny.config.read_text()) | {
        "train": {"table": "train.csv", "images": "train/{id}"}, "target": "regression", "metric": "rmse",
        "folds": {"kind": "holdout"},
    }  # fmt: skip
    del content["classes"]
    tiny.config.write_text(yaml.safe_dump(content))
    competition = load_competition(tiny.config)
    return tiny.folder / "train.csv", lambda: read_rows(competition, tiny.folder)


def _own_folds(tiny):
    path = tiny.folder / "folds.csv"
    path.write_text("id,fold\n" + "".join(f"{row:04}.jpg,{row % 2}\n" for row in range(24)))
    tiny = tiny.change(folds={"kind": "table", "path": "folds.csv"})
    rows = read_rows(tiny.competition, tiny.folder)
    return path, lambda: make_folds(tiny.competition, rows, tiny.folder).numbers


def _ignore(tiny):
    path = tiny.config.parent / "ignore.csv"
    path.write_text("id,reason\n0001.jpg,blurred\n0002.jpg,copy\n")
    tiny.change(ignore="ignore.csv")
    return path, lambda: load_competition(tiny.config)


def _groups(tiny):
    path = tiny.config.parent / "groups.csv"
    path.write_text("id,group\n0001.jpg,a\n0002.jpg,a\n")
    tiny.change(folds={"kind": "grouped", "count": 2, "groups": "groups.csv"})
    return path, lambda: load_competition(tiny.config)


def _sample(tiny):
    path = tiny.folder / "sample-submission.csv"
    return path, lambda: SubmissionSpec.of(tiny.competition, path).read_sample()


def _submission(tiny):
    sample = tiny.folder / "sample-submission.csv"
    path = tiny.folder / "submission.csv"
    path.write_bytes(sample.read_bytes())
    return path, lambda: find_problems(path, SubmissionSpec.of(tiny.competition, sample))


def _probabilities(tiny):
    tiny = tiny.change(submission={"format": "probabilities"}, metric="log_loss")
    rows = [f"{name},0.25,0.25,0.25,0.25" for name in tiny.answers]
    sample, path = tiny.folder / "sample-submission.csv", tiny.folder / "submission.csv"
    for file in (sample, path):
        file.write_text("Id,Red,Green,Blue,Yellow\n" + "\n".join(rows) + "\n")
    spec = SubmissionSpec.of(tiny.competition, sample)
    sample.write_text(",".join(["Id", *spec.answer_columns]) + "\n" + "\n".join(rows) + "\n")
    path.write_bytes(sample.read_bytes())
    return path, lambda: find_problems(path, spec)


def _ledger(tiny):
    path = tiny.folder / "ledger.csv"
    rows = [
        ",".join(COLUMNS),
        *[",".join((LEDGER | {"ref": ref}).get(column, "") for column in COLUMNS) for ref in "12"],
    ]
    path.write_text("\n".join(rows) + "\n")

    def read():
        for row in Ledger(path).rows():
            _ = (row.time, row.ref, row.name, row.digest, row.cross_validation, row.public_score, row.changed(ref=3))

    return path, read


def _predictions(tiny):
    path = tiny.folder / "oof.csv"
    path.write_text(OOF)
    return path, lambda: read_predictions(path)


def _labels(tiny):
    prepared = prepare(tiny.competition, RunOptions(data=tiny.folder, runs=tiny.folder / "runs"), Console(quiet=True))
    rows, path = prepared.rows.train, tiny.folder / "labels" / "oof.csv"
    shares, folds = np.full((len(rows), 4), 0.25), prepared.folds.of_row.astype(int)
    write_predictions(path, Predictions(rows["id"].tolist(), list("0123"), shares, rows[["label"]], folds))
    return path, EnsembleLabels(path.parent, prepared).check_folds


def _metric(tiny):
    path = tiny.config.parent / "mine.py"
    path.write_text(
        "HIGHER_IS_BETTER = True\n\n\ndef score(truth, predictions):\n    return (truth == predictions).mean()\n"
    )
    tiny.change(metric="mine.py:score")
    return path, lambda: load_competition(tiny.config)


READERS = [
    Reader("labels by an ensemble", "csv", _labels),
    Reader("metric of the competition", "bytes", _metric),
    Reader("competition", "yaml", _competition),
    Reader("member", "yaml", _member),
    Reader("ensemble", "yaml", _ensemble),
    Reader("detector", "yaml", _detector),
    Reader("train.csv", "csv", _train),
    Reader("train.csv with numbers", "csv", _numbers),
    Reader("folds", "csv", _own_folds),
    Reader("ignore.csv", "csv", _ignore),
    Reader("groups.csv", "csv", _groups),
    Reader("sample submission", "csv", _sample),
    Reader("submission", "csv", _submission),
    Reader("submission of probabilities", "csv", _probabilities),
    Reader("ledger", "csv", _ledger),
    Reader("predictions", "csv", _predictions),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_broken_tables_and_configs_are_errors(reader, tiny_competition):
    try_variants(reader, tiny_competition, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_many_broken_tables_and_configs_are_errors(reader, tiny_competition):
    try_variants(reader, tiny_competition, LONG)


@pytest.mark.parametrize(
    "key", ["seed", "stages.0.learning_rate", "stages", "backbone.name", "head", "tta", "competition"]
)
def test_broken_values_of_set_are_errors(key, tiny_competition):
    path = tiny_competition.member()
    for text in TEXTS:
        check_read(lambda text=text: load_member(path, [f"{key}={text}"]))
