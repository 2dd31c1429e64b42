"""Answers of Kaggle, outputs of kernels, and records of both that are broken or hostile."""

import json
import shutil

import pytest
from mutations import LONG, SHORT, TEXTS, Reader, check_read, try_variants

from podium.config.kaggle_names import KernelRef
from podium.kaggle.fleet import Fleet, FleetJob, read_fleet
from podium.kaggle.outputs import NOTE, _read_note, check_names
from podium.kaggle.records import import_runs, read_pending, read_records, record_push, write_pending
from podium.kaggle.responses import log_lines
from podium.kernel.building import KernelBuilder, make_job
from podium.kernel.job import Job
from podium.kernel.metadata import Machine, merge_metadata
from podium.kernel.report import REPORT, cause_of_failure, read_report
from podium.kernel.script import Packing, read_about, read_packed
from podium.runs import Run

REF = KernelRef("ada", "podium-tiny-fold0", 2)
BEST = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.75, "image_size": 32, "digest": "d"}
RUN = "runs/tiny-12345678/fold0"
STATE = {"status": "trained", "stage": "all", "epoch": 1, "step": 0, "best": BEST}
LOG = [{"stream_name": "stdout", "time": 1.5, "data": "a line\n"}, {"data": "podium.errors.DataError: no data\n"}]


def _report(tiny):
    runs = tiny.folder / "runs"
    record = record_push(runs, {"commit": "c", "config": "tiny.yaml"}, "print()", REF, "https://…/2")
    run = Run(record.output / RUN)
    run.update_state(**STATE)
    run.best_weights.write_text("weights")
    entry = {"member": "tiny", "fold": 0, "run": RUN, "predictions": None, "state": STATE, "checkpoint": None}
    content = {"status": "done", "config": "tiny.yaml", "runs": [entry], "files": {f"{RUN}/state.json": 100}}
    path = record.output / REPORT
    path.write_text(json.dumps(content))

    def read():
        for entry in read_report(record.output).runs:
            _ = (entry.best, entry.score)
        _ = read_report(record.output).progress
        import_runs(record, tiny.folder / "local" / "runs")
        shutil.rmtree(tiny.folder / "local", ignore_errors=True)

    return path, read


def _log(tiny):
    path = tiny.folder / "log.json"
    path.write_text(json.dumps(LOG))
    return path, lambda: cause_of_failure(log_lines(path.read_text(errors="replace")))


def _note(tiny):
    path = tiny.folder / NOTE
    path.write_text(json.dumps({"kernel": str(REF), "files": {"a.txt": {"size": 1, "digest": "d"}}}))
    return path, lambda: _read_note(tiny.folder, REF)


def _build(tiny, **packing):
    member = tiny.member()
    builder = KernelBuilder([member], Machine(), tiny.folder / "runs", packing=Packing(**packing))
    return builder.assemble(make_job(member, folds=(0,)))


def _metadata(tiny):
    metadata = _build(tiny).metadata
    path, before = tiny.folder / "kernel-metadata.json", tiny.folder / "before.json"
    for file in (path, before):
        file.write_text(json.dumps(metadata))
    return path, lambda: merge_metadata(path, metadata, before)


def _script(notebook):
    def prepare(tiny):
        path = tiny.folder / f"kernel.{'ipynb' if notebook else 'py'}"
        path.write_text(_build(tiny, notebook=notebook, compress=True).bundle.text)

        def read():
            read_about(path)
            read_packed(path)

        return path, read

    return prepare


def _queue(tiny):
    jobs = [
        FleetJob(
            spec=Job(kind="member", config="tiny.yaml", folds=(fold,)), kernel="ada/a", ref="ada/a/1", state="running"
        )
        for fold in (0, 1)
    ]
    fleet = Fleet(tiny.folder / "fleet", tiny.config, jobs, Machine(), Packing())
    fleet.save()

    def read():
        for job in read_fleet(fleet.folder).jobs:
            _ = (job.name, job.spec.title)
            if job.state == "running":
                _ = (job.page, job.output(tiny.folder))

    return fleet.folder / "queue.json", read


def _record(tiny):
    runs = tiny.folder / "runs"
    record = record_push(runs, {"commit": "c", "config": "tiny.yaml"}, "print()", REF, "https://…/2")
    return record.folder / "kernel.json", lambda: [record.ref for record in read_records(runs)]


def _pending(tiny):
    runs = tiny.folder / "runs"
    write_pending(runs, REF, {"script_digest": "d"}, "print()", 3)
    path = next(runs.rglob("push/kernel.json"))
    return path, lambda: getattr(read_pending(runs, REF), "digest", None)


READERS = [
    Reader("report", "json", _report),
    Reader("log", "json", _log),
    Reader("note of a download", "json", _note),
    Reader("metadata", "json", _metadata),
    Reader("script", "bytes", _script(notebook=False)),
    Reader("notebook", "json", _script(notebook=True)),
    Reader("queue", "json", _queue),
    Reader("record", "json", _record),
    Reader("pending push", "json", _pending),
]


@pytest.mark.parametrize("reader", READERS, ids=str)
def test_broken_answers_are_errors(reader, tiny_competition):
    try_variants(reader, tiny_competition, SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=str)
def test_many_broken_answers_are_errors(reader, tiny_competition):
    try_variants(reader, tiny_competition, LONG)


@pytest.mark.parametrize(
    "names", [TEXTS, *([text] for text in TEXTS), ["a", "a/b"], ["a/" * 1_500 + "b"]], ids=lambda _: ""
)
def test_names_of_outputs_stay_inside(names, tmp_path):
    check_read(lambda: check_names(names, tmp_path))
