"""Checkpoint files: written, read, found damaged, fallen back from. Nothing here trains."""

import errno
import os
import re
import shutil
from io import StringIO
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from line_task import Fail
from rich.console import Console

from podium.changes import LEARNING_RATE, Change
from podium.config.stage import Stage
from podium.errors import DiskFullError, RunError
from podium.files import digest_of_file
from podium.models import devices
from podium.training import checkpoints
from podium.training.checkpoints import (
    Checkpoint,
    CheckpointStore,
    Progress,
    are_finite,
    capture,
    capture_random_state,
    captured_size,
    restore_metrics,
    restore_model,
)

QUIET = Console(quiet=True)
FULL = OSError(errno.ENOSPC, "No space left on device")


def arrays(value):
    return {
        "model/00000": np.full((3, 4), value, np.float32),
        "model/00001": np.array([7, 8], np.uint32),
        "optimizer/00000": np.array(5, np.int64),
    }


def progress(epoch, best=None):
    return Progress(seed=1, stage_name="all", epoch=epoch, best=best, history=[{"epoch": 0, "loss": 0.1 + 0.2}])


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "fold0")


@pytest.fixture
def two(store):
    """A store with checkpoints of epoch 1 and epoch 2."""
    store.write(progress(1), arrays(1.0))
    store.write(progress(2), arrays(2.0))
    return store


def reopened(store):
    """As another process sees it."""
    return CheckpointStore(store.folder.parent)


def best(store, epoch, content):
    """Save these bytes as the best weights of an epoch."""
    store.folder.mkdir(parents=True, exist_ok=True)
    weights = store.folder / ".writing-best.weights.h5"
    weights.write_bytes(content)

    def write_reports(folder):
        (folder / "report.csv").write_text(f"epoch {epoch}\n")

    return {"stage": "all", "epoch": epoch, "score": 0.5, **store.save_best(weights, 0, epoch, write_reports)}


def flip(path, place=0.5):
    """Flip a bit at this share of the file."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x10
    path.write_bytes(content)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def load(store):
    """The newest valid checkpoint, and what was printed."""
    log = StringIO()
    checkpoint = reopened(store).load_newest(Console(file=log, width=500))
    return checkpoint, log.getvalue()


# The progress

STAGE = Stage(name="all", unfreeze="all", epochs=4, batch_size=8, image_size=32, learning_rate=0.1, early_stopping=2)


def test_a_stage_is_finished_after_its_epochs_or_its_patience():
    def is_finished(epoch, wait=0, stage=STAGE, **more):
        return Progress(seed=1, epoch=epoch, counters={"early_stopping": {"wait": wait}}, **more).has_finished(stage)

    assert [is_finished(epoch) for epoch in (0, 3, 4, 5)] == [False, False, True, True]
    assert [is_finished(2, wait) for wait in (1, 2, 3)] == [False, True, True]
    assert not is_finished(1, wait=2)  # Keras never stops after the first epoch
    assert not is_finished(2, wait=9, stage=STAGE.model_copy(update={"early_stopping": None}))
    assert is_finished(0, is_complete=True)
    assert not Progress(seed=1, epoch=2).has_finished(STAGE.model_copy(update={"early_stopping": 1}))


def test_the_learning_rate_is_that_of_the_last_change_so_far():
    def change(stage, epoch, step, after, key=LEARNING_RATE):
        return Change(stage, epoch, step, key, 0.1, after, "set", "now")

    changes = [change(0, 1, 0, 0.5), change(1, 0, 3, 0.4), change(1, 1, 2, 0.3), change(1, 1, 2, 9.0, key="views")]
    rates = {}
    for position in ((0, 0, 9), (0, 1, 0), (1, 0, 2), (1, 0, 3), (1, 1, 1), (1, 1, 2), (2, 0, 0)):
        stage, epoch, step = position
        rates[position] = Progress(seed=1, stage=stage, epoch=epoch, step=step, changes=changes).learning_rate(STAGE)
    assert list(rates.values()) == [0.1, 0.5, 0.1, 0.4, 0.4, 0.3, 0.1]


def test_a_stage_starts_with_its_first_step():
    progress = Progress(seed=1, epoch=4, counters={"early_stopping": {"wait": 2}}, is_complete=True)
    assert progress.describe(STAGE) == "the end of stage all"
    progress.epoch, progress.step, progress.rows = 2, 5, 40
    assert progress.describe(STAGE) == "stage all, epoch 3 of 4, after step 5"
    progress.start_stage(1, STAGE)
    assert progress == Progress(seed=1, stage=1, stage_name="all")
    assert (progress.position, progress.describe(STAGE)) == ((1, 0, 0), "stage all, epoch 1 of 4")


def test_only_floats_can_be_infinite():
    assert are_finite([np.array([1.0, -1.0]), np.array([7], np.uint32)])
    assert not are_finite([np.array([7]), np.array([1.0, np.nan])])


# What is captured


@pytest.fixture
def model():
    """With weights, a random seed, and an optimizer."""
    layers = [keras.Input((3,)), keras.layers.Dense(200), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def test_the_size_of_a_checkpoint_is_known_before(model):
    setup = SimpleNamespace(model=model, full_model=model)
    assert captured_size(setup) == pytest.approx(sum(array.nbytes for array in capture(setup).values()), rel=0.01)


def test_arrays_of_another_model_are_refused(model, tmp_path):
    arrays = {**capture(SimpleNamespace(model=model, full_model=model)), "model/00000": np.zeros((3, 7))}
    message = (
        r"belongs to another model \(1 of its 5 arrays do not fit this config's\); resume with the library versions"
    )
    with pytest.raises(RunError, match=message):
        restore_model(model, Checkpoint(tmp_path / "one.npz", Progress(seed=1), arrays))


def test_metrics_of_each_device_are_restored_on_as_many_devices(monkeypatch, tmp_path):
    assigned = []
    monkeypatch.setattr(devices, "device_values", lambda model, variable: np.array([1.0, 2.0]))
    monkeypatch.setattr(devices, "assign_device_values", lambda model, *values: assigned.append(values))
    metric, none = keras.Variable(3.0), SimpleNamespace(variables=[])
    model = SimpleNamespace(metrics_variables=[metric], optimizer=none, variables=[])
    for is_distributed, count, is_assigned in ((True, 2, True), (True, 3, False), (False, 2, False)):
        monkeypatch.setattr(devices, "is_distributed", lambda model, answer=is_distributed: answer)
        model.distribute_strategy = SimpleNamespace(num_replicas_in_sync=count)
        arrays = capture(SimpleNamespace(model=model, full_model=model))
        assert list(arrays) == ["metrics/00000", "devices/00000"][: 1 + is_distributed]
        arrays = {**arrays, "devices/00000": np.array([1.0, 2.0])}
        restore_metrics(model, Checkpoint(tmp_path / "one.npz", Progress(seed=1), arrays))
        assert [(variable is metric, values.tolist()) for variable, values in assigned] == [
            (True, [1, 2])
        ] * is_assigned
        assigned.clear()


def test_the_random_state_has_all_but_the_weights(model):
    seeds = [f"model/{number:05d}" for number, variable in enumerate(model.variables) if "seed" in variable.path]
    assert seeds
    assert list(capture_random_state(model)) == seeds


# Reading


def test_checkpoint_is_read_as_written(store):
    store.write(progress(3), arrays(0.1))
    checkpoint = store.load_newest(QUIET)
    assert checkpoint.progress == progress(3)
    assert set(checkpoint.part("model")) == {0, 1}
    for name, array in arrays(0.1).items():
        np.testing.assert_array_equal(checkpoint.arrays[name], array)
        assert checkpoint.arrays[name].dtype == array.dtype
        assert checkpoint.arrays[name].shape == array.shape


def test_empty_folder_has_no_checkpoint(store):
    assert store.load_newest(QUIET) is None


def test_newest_two_checkpoints_are_kept(store):
    for epoch in range(1, 5):
        store.write(progress(epoch), arrays(epoch))
    assert [path.name[:17] for path in store.paths()] == ["checkpoint-000004", "checkpoint-000003"]
    assert store.load_newest(QUIET).progress.epoch == 4


def test_best_weights_of_both_checkpoints_are_kept_and_no_others(store):
    found = None
    for epoch in range(1, 5):
        if epoch < 4:  # the fourth is not better
            found = best(store, epoch, b"weights %d" % epoch)
        store.write(progress(epoch, found), arrays(epoch))
        kept = sorted(path.name[:8] for path in store.folder.glob("best-*"))
        assert kept == [["best-0-1"], ["best-0-1", "best-0-2"], ["best-0-2", "best-0-3"], ["best-0-3"]][epoch - 1]
    assert (store.folder.parent / found["file"]).read_bytes() == b"weights 3"


def test_truncated_checkpoint_is_reported_and_the_previous_one_used(two):
    newest, _ = two.paths()
    content = newest.read_bytes()
    for size in range(0, len(content), 40):
        newest.write_bytes(content[:size])
        before = files(two.folder)
        checkpoint, printed = load(two)
        assert checkpoint.progress.epoch == 1, size
        assert printed == (
            f"  checkpoint {newest.name} is damaged (its checksum does not match): resuming from the one before\n"
        )
        assert files(two.folder) == before


def test_flipped_bit_is_found(two):
    newest, _ = two.paths()
    content = newest.read_bytes()
    for place in range(0, len(content), 61):
        newest.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        assert load(two)[0].progress.epoch == 1, place
    newest.write_bytes(content)
    assert load(two)[0].progress.epoch == 2


def test_previous_checkpoint_is_used_when_the_newest_is_deleted(two):
    two.paths()[0].unlink()
    assert load(two)[0].progress.epoch == 1


def test_folder_with_the_name_of_a_checkpoint_is_ignored(two):
    newest = two.paths()[0]
    newest.unlink()
    newest.mkdir()
    assert load(two)[0].progress.epoch == 1


def test_without_a_valid_checkpoint_all_are_named_and_nothing_changes(two):
    for path in two.paths():
        path.write_bytes(b"")
    before = files(two.folder)
    message = r"no checkpoint in .* can be used: checkpoint-000002.*; checkpoint-000001.*Nothing was changed"
    with pytest.raises(RunError, match=message) as error:
        load(two)
    assert "\n" not in str(error.value)
    assert files(two.folder) == before


@pytest.mark.parametrize("place", [0.25, 0.999])
def test_valid_checkpoint_is_kept_and_a_newer_damaged_one_deleted(two, place):
    damaged, valid = two.paths()
    flip(damaged, place)
    store = reopened(two)
    store.load_newest(QUIET)
    newest = store.write(progress(2), arrays(2.5))
    assert store.paths() == [newest, valid]


def test_valid_checkpoint_is_kept_after_a_newer_one_lost_its_best_weights(store):
    valid = store.write(progress(1, best(store, 0, b"first")), arrays(1))
    second = best(store, 1, b"second")
    store.write(progress(2, second), arrays(2))
    (store.folder.parent / second["file"]).write_bytes(b"secund")
    again = reopened(store)
    checkpoint = again.load_newest(QUIET)
    newest = again.write(progress(2, checkpoint.progress.best), arrays(2.5))
    assert again.paths() == [newest, valid]
    newest.write_bytes(b"truncated")
    assert load(store)[0].progress.epoch == 1


def test_checkpoint_of_another_version_is_reported(two, monkeypatch):
    monkeypatch.setattr(checkpoints, "asdict", lambda _: {"unknown": 1, "changes": []})
    newest = two.write(progress(3), arrays(3.0))
    monkeypatch.undo()
    checkpoint, printed = load(two)
    assert checkpoint.progress.epoch == 2
    assert f"{newest.name} was written by another version of podium" in printed
    assert newest.is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        {"file": "/best.weights.h5"},
        {"file": "../best.weights.h5"},
        {"digest": "a/b"},
        {"reports": ["../report.csv"]},
        {"score": "high"},
    ],
    ids=str,
)
def test_best_weights_outside_of_the_run_are_not_used(two, wrong):
    newest = two.write(progress(3, best(two, 1, b"weights") | wrong), arrays(3.0))
    checkpoint, printed = load(two)
    assert checkpoint.progress.epoch == 2
    assert f"{newest.name} was written by another version" in printed
    assert "(its best weights are not described as expected)" in printed


@pytest.mark.parametrize(
    ("save", "more", "problem"),
    [(np.savez_compressed, {}, "it is compressed"), (np.savez, {"model/9": np.array([{}])}, "Object arrays cannot be")],
    ids=["compressed", "pickled"],
)
def test_a_checkpoint_is_neither_expanded_nor_unpickled(two, save, more, problem):
    newest = two.paths()[0]
    with np.load(newest) as file:
        save(two.folder / "new.npz", **file, **more)
    digest = digest_of_file(two.folder / "new.npz")
    (two.folder / "new.npz").rename(two.folder / f"checkpoint-000003-{digest}.npz")
    checkpoint, printed = load(two)
    assert checkpoint.progress.epoch == 2
    assert f"was written by another version of podium ({problem}" in printed


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (os.unlink, "is missing"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (flip, "is damaged"),
    ],
    ids=["deleted", "empty", "flipped"],
)
def test_checkpoint_without_its_best_weights_is_not_used(store, harm, problem):
    store.write(progress(1, best(store, 0, b"first")), arrays(1))
    second = best(store, 1, b"second")
    store.write(progress(2, second), arrays(2))
    harm(store.folder.parent / second["file"])
    checkpoint, printed = load(store)
    assert checkpoint.progress.epoch == 1
    assert f"lacks its best weights ({second['file']} {problem})" in printed


# Writing


@pytest.mark.parametrize("function", [(os, "fsync"), (np, "save"), (checkpoints.Path, "rename")])
@pytest.mark.parametrize("at", [1, 2])
def test_full_disk_keeps_the_checkpoints_and_reports_the_bytes(two, monkeypatch, function, at):
    before = files(two.folder)
    monkeypatch.setattr(*function, Fail(getattr(*function), FULL, at))
    message = r"\ba checkpoint in .*/checkpoints needs [0-9,]+ bytes, [0-9,]+ more than are free"
    with pytest.raises(DiskFullError, match=message):
        [two.write(progress(3), arrays(3)) for _ in range(2)]
    monkeypatch.undo()
    assert not list(two.folder.glob(".writing*"))
    assert load(two)[0].progress.epoch == (3 if files(two.folder) != before else 2)


def test_exceeded_quota_is_reported_as_a_full_disk(two, monkeypatch):
    monkeypatch.setattr(os, "fsync", Fail(None, OSError(errno.EDQUOT, "Disk quota exceeded"), 1))
    with pytest.raises(DiskFullError, match=r"bytes, [0-9,]+ more than are free"):
        two.write(progress(3), arrays(3))


def test_missing_bytes_are_those_that_are_not_free(two, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(np, "save", Fail(None, FULL, 1))
    with pytest.raises(DiskFullError) as full:
        two.write(progress(3), arrays(3))
    needs, missing = (
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:bytes|more)", str(full.value))
    )
    assert needs > 1000
    assert missing == needs - 1000


def test_full_disk_keeps_the_previous_best_weights(store, monkeypatch):
    first = best(store, 0, b"first")
    store.write(progress(1, first), arrays(1))
    before = files(store.folder)
    monkeypatch.setattr(os, "fsync", Fail(None, FULL, 1))
    with pytest.raises(OSError, match="No space"):
        best(store, 1, b"second")
    monkeypatch.undo()
    assert [path.name for path in store.folder.iterdir() if path.is_dir() and not any(path.iterdir())] == [
        ".writing-best"
    ]
    store.delete_temporary_files()
    assert files(store.folder) == before
    assert load(store)[0].progress.best == first
    monkeypatch.setattr(shutil, "copyfile", Fail(None, FULL, 1))
    with pytest.raises(DiskFullError, match=r"\bthe best weights in \S+ needs [0-9,]+ bytes"):
        store.copy_best_to_run(first)


@pytest.mark.parametrize("at", [1, 2])
def test_full_disk_while_copying_keeps_the_original(store, tmp_path, monkeypatch, at):
    store.write(progress(1, best(store, 0, b"weights")), arrays(1))
    checkpoint, before = store.load_newest(QUIET), files(store.folder)
    monkeypatch.setattr(shutil, "copyfile", Fail(shutil.copyfile, FULL, at))
    with pytest.raises(DiskFullError, match=rf"\ba copy of the checkpoint in {tmp_path}/other/\S+ needs [0-9,]+ bytes"):
        store.copy_to(tmp_path / "other", checkpoint)
    assert files(store.folder) == before
    assert not list((tmp_path / "other").rglob(".writing*"))


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), PermissionError(13, "Permission denied")])
def test_read_only_folder_keeps_its_checkpoints(two, monkeypatch, error):
    before = files(two.folder)
    monkeypatch.setattr(checkpoints, "_write_npz", Fail(None, error, 1))
    with pytest.raises(OSError, match=error.strerror):
        two.write(progress(3), arrays(3))
    assert files(two.folder) == before
    assert load(two)[0].progress.epoch == 2


def test_temporary_files_of_a_killed_process_are_deleted(two):
    (two.folder / ".writing-checkpoint-000003.npz").write_bytes(b"half")
    (two.folder / ".writing-best").mkdir()
    (two.folder / ".writing-best" / "best.weights.h5").write_bytes(b"half")
    (two.folder.parent / ".writing-abc.csv").write_bytes(b"half")
    two.delete_temporary_files()
    assert not [path for path in two.folder.parent.rglob("*") if path.name.startswith(".writing")]
    assert len(two.paths()) == 2


def test_best_weights_without_a_checkpoint_are_deleted_by_the_next_one(store):
    store.write(progress(1, best(store, 0, b"first")), arrays(1))
    orphan = store.folder.parent / best(store, 1, b"second")["file"]
    again = reopened(store)
    checkpoint = again.load_newest(QUIET)
    again.write(progress(2, checkpoint.progress.best), arrays(2))
    assert not orphan.exists()
    assert load(store)[0].progress.epoch == 2


# The best weights


def test_best_weights_are_copied_to_the_run_with_their_reports(store):
    found = best(store, 4, b"weights")
    copied = store.copy_best_to_run(found)
    run = store.folder.parent
    assert (run / "best.weights.h5").read_bytes() == b"weights"
    assert (run / "report.csv").read_text() == "epoch 4\n"
    assert copied == {**found, "file": "best.weights.h5"}
    assert store.copy_best_to_run(copied) == copied


def test_reports_of_a_killed_process_are_not_saved_with_the_next_weights(store):
    (store.folder / ".writing-best").mkdir(parents=True)
    (store.folder / ".writing-best" / "old.csv").write_text("half")
    assert best(store, 1, b"weights")["reports"] == ["report.csv"]


def test_same_weights_saved_twice_are_one_folder(store):
    assert best(store, 1, b"same") == best(store, 1, b"same")
    assert len(list(store.folder.iterdir())) == 1


def test_copied_checkpoint_needs_nothing_of_the_original(store, tmp_path):
    found = best(store, 0, b"weights")
    store.write(progress(1, found), arrays(1))
    store.copy_to(tmp_path / "other", store.load_newest(QUIET))
    shutil.rmtree(store.folder)
    copy = CheckpointStore(tmp_path / "other").load_newest(QUIET)
    assert copy.progress == progress(1, found)
    assert (tmp_path / "other" / found["file"]).read_bytes() == b"weights"
    assert (tmp_path / "other" / found["file"]).with_name("report.csv").is_file()


def test_only_the_newest_checkpoint_is_kept_at_the_end(two):
    best(two, 0, b"weights")
    newest = two.paths()[0]
    two.keep_only_newest()
    assert list(two.folder.iterdir()) == [newest]
