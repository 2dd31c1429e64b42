"""Checkpoints as files: read back, found damaged, fallen back from. Nothing here trains."""

import errno
import os
import re
import shutil
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from line_task import Fail
from rich.console import Console

from podium.errors import DiskFullError, RunError
from podium.training import checkpoints as saving
from podium.training.checkpoints import CheckpointStore, Progress

QUIET = Console(quiet=True)


def arrays(value):
    return {
        "model/00000": np.full((3, 4), value, np.float32),
        "model/00001": np.array([7, 8], np.uint32),
        "optimizer/00000": np.array(5, np.int64),
    }


def progress(epoch, best=None):
    return Progress(seed=1, stage_name="all", epoch=epoch, best=best, history=[{"epoch": 0, "loss": 0.1 + 0.2}])


@pytest.fixture
def saves(tmp_path):
    return CheckpointStore(tmp_path / "fold0")


@pytest.fixture
def two(saves):
    """Two states, after the first epoch and after the second."""
    saves.write(progress(1), arrays(1.0))
    saves.write(progress(2), arrays(2.0))
    return saves


def best(saves, epoch, content):
    """As if ModelCheckpoint had saved these weights."""
    saves.folder.mkdir(parents=True, exist_ok=True)
    weights = saves.folder / ".writing-best.weights.h5"
    weights.write_bytes(content)

    def report(folder):
        (folder / "report.csv").write_text(f"epoch {epoch}\n")

    return {"stage": "all", "epoch": epoch, "score": 0.5, **saves.save_best(weights, 0, epoch, report)}


def flip(path, place):
    """Another bit at this share of the file."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0x10
    path.write_bytes(content)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def told_by(saves):
    log = StringIO()
    saved = saves.load_newest(Console(file=log, width=500))
    return saved, log.getvalue()


def test_a_state_comes_back_bit_for_bit(saves):
    saves.write(progress(3), arrays(0.1))
    saved = saves.load_newest(QUIET)
    assert saved.progress == progress(3)
    assert set(saved.part("model")) == {0, 1}
    for name, array in arrays(0.1).items():
        np.testing.assert_array_equal(saved.arrays[name], array)
        assert saved.arrays[name].dtype == array.dtype
        assert saved.arrays[name].shape == array.shape


def test_without_a_state_there_is_nothing_to_go_on_from(saves):
    assert saves.load_newest(QUIET) is None


def test_the_newest_two_states_are_kept(saves):
    for epoch in range(1, 5):
        saves.write(progress(epoch), arrays(epoch))
    assert [path.name[:12] for path in saves.states()] == ["checkpoint-000004", "checkpoint-000003"]
    assert saves.load_newest(QUIET).progress.epoch == 4


def test_the_best_weights_of_both_states_are_kept_and_no_others(saves):
    found = None
    for epoch in range(1, 5):
        if epoch < 4:  # the fourth is no better
            found = best(saves, epoch, b"weights %d" % epoch)
        saves.write(progress(epoch, found), arrays(epoch))
        kept = sorted(path.name[:8] for path in saves.folder.glob("best-*"))
        assert kept == [["best-0-1"], ["best-0-1", "best-0-2"], ["best-0-2", "best-0-3"], ["best-0-3"]][epoch - 1]
    assert (saves.folder.parent / found["file"]).read_bytes() == b"weights 3"


@pytest.mark.parametrize("part", range(4))
def test_a_state_cut_short_anywhere_is_found_and_the_one_before_taken(two, part):
    newest, _ = two.states()
    whole = newest.read_bytes()
    for size in range(part * 10, len(whole), 40):  # every tenth byte, in four parts
        newest.write_bytes(whole[:size])
        before = files(two.folder)
        saved, told = told_by(two)
        assert saved.progress.epoch == 1, size
        assert told == (
            f"  checkpoint {newest.name} is damaged (its bytes are not those that were saved):"
            " going on from the one before\n"
        )
        assert files(two.folder) == before


def test_a_flipped_byte_anywhere_is_found(two):
    newest, _ = two.states()
    whole = newest.read_bytes()
    for place in range(0, len(whole), 61):
        newest.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert two.load_newest(QUIET).progress.epoch == 1, place
    newest.write_bytes(whole)
    assert two.load_newest(QUIET).progress.epoch == 2


def test_a_deleted_state_is_not_missed(two):
    two.states()[0].unlink()
    assert two.load_newest(QUIET).progress.epoch == 1


def test_a_state_of_a_newer_podium_is_left_alone(two, monkeypatch):
    monkeypatch.setattr("podium.training.checkpoints.FORMAT", 2)
    newer = two.write(progress(3), arrays(3.0))
    monkeypatch.undo()
    saved, told = told_by(two)
    assert saved.progress.epoch == 2
    assert f"{newer.name} was saved by another podium (format 2; this one: 1)" in told
    assert newer.is_file()


def test_a_folder_in_the_place_of_a_state_is_no_state(two):
    newest = two.states()[0]
    newest.unlink()
    newest.mkdir()
    assert two.load_newest(QUIET).progress.epoch == 1


def test_where_no_state_is_whole_nothing_is_touched_and_all_are_named(two):
    for path in two.states():
        path.write_bytes(b"")
    before = files(two.folder)
    with pytest.raises(
        RunError, match=r"no checkpoint in .* can be used: checkpoint-000002.*; checkpoint-000001.*Nothing was"
    ):
        two.load_newest(QUIET)
    assert files(two.folder) == before


def test_the_next_save_keeps_the_whole_state_and_drops_the_damaged_one(two):
    damaged, whole = two.states()
    damaged.write_bytes(b"cut")
    two.write(progress(2), arrays(2.5))
    assert whole in two.states()
    assert damaged not in two.states()
    assert len(two.states()) == 2


@pytest.mark.parametrize("place", [0.25, 0.5, 0.75, 0.999])
def test_a_good_state_outlives_a_newer_one_with_a_flipped_byte(two, place):
    """Such a state can still be opened: only its digest tells."""
    damaged, whole = two.states()
    flip(damaged, place)
    two.load_newest(QUIET)
    newest = two.write(progress(2), arrays(2.5))
    assert two.states() == [newest, whole]


def test_a_good_state_outlives_a_newer_one_that_lost_its_best_weights(saves):
    whole = saves.write(progress(1, best(saves, 0, b"first")), arrays(1))
    second = best(saves, 1, b"second")
    saves.write(progress(2, second), arrays(2))
    (saves.folder.parent / second["file"]).write_bytes(b"secund")
    saved = saves.load_newest(QUIET)
    newest = saves.write(progress(2, saved.progress.best), arrays(2.5))
    assert saves.states() == [newest, whole]
    newest.write_bytes(b"cut")
    assert saves.load_newest(QUIET).progress.epoch == 1


def test_a_good_state_outlives_one_of_a_newer_podium(two, monkeypatch):
    whole = two.states()[0]
    monkeypatch.setattr("podium.training.checkpoints.FORMAT", 2)
    two.write(progress(3), arrays(3.0))
    monkeypatch.undo()
    two.load_newest(QUIET)
    newest = two.write(progress(3), arrays(3.5))
    assert newest in two.states()
    assert whole in two.states()


def test_a_state_of_a_newer_podium_may_hold_other_things(two, monkeypatch):
    monkeypatch.setattr(saving, "_HEADER", "heading")
    monkeypatch.setattr(
        CheckpointStore, "_let_go", lambda *_: None
    )  # it would not know the earlier ones by that heading
    two.write(progress(3), arrays(3.0))
    monkeypatch.undo()
    saved, told = told_by(two)
    assert saved.progress.epoch == 2
    assert told.count("\n") == 1


def test_two_states_of_a_newer_podium_are_refused_and_left_alone(two, monkeypatch):
    monkeypatch.setattr("podium.training.checkpoints.FORMAT", 2)
    for epoch in (3, 4):
        two.write(progress(epoch), arrays(epoch))
    monkeypatch.undo()
    before = files(two.folder)
    with pytest.raises(
        RunError, match=r"\(format 2; this one: 1\).*Nothing was changed; to start anew, move .* away"
    ) as one:
        two.load_newest(QUIET)
    assert "\n" not in str(one.value)
    assert files(two.folder) == before


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (os.unlink, "is not there"),
        (lambda path: path.write_bytes(b""), "is damaged"),
        (lambda path: flip(path, 0.5), "is damaged"),
    ],
    ids=["deleted", "empty", "flipped"],
)
def test_without_its_best_weights_a_state_cannot_be_gone_on_from(saves, harm, problem):
    saves.write(progress(1, best(saves, 0, b"first")), arrays(1))
    second = best(saves, 1, b"second")
    saves.write(progress(2, second), arrays(2))
    harm(saves.folder.parent / second["file"])
    saved, told = told_by(saves)
    assert saved.progress.epoch == 1
    assert f"lacks its best weights ({second['file']} {problem})" in told


# Writing


def test_a_state_that_does_not_read_back_is_not_kept(two, monkeypatch):
    before = files(two.folder)
    monkeypatch.setattr(saving, "digest_of_file", lambda _: "another")
    with pytest.raises(RunError, match="does not hold what is written into it"):
        two.write(progress(3), arrays(3))
    assert files(two.folder) == before


@pytest.mark.parametrize("function", [(os, "fsync"), (np, "save"), (saving.Path, "rename")])
@pytest.mark.parametrize("at", [1, 2])
def test_a_full_disk_leaves_the_states_there_are_and_tells_the_bytes(two, monkeypatch, function, at):
    before = files(two.folder)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(*function, Fail(getattr(*function), full, at))
    told = r"a checkpoint in .*/checkpoints needs [0-9,]+ bytes, [0-9,]+ more than it can have"
    with pytest.raises(DiskFullError, match=told):
        [two.write(progress(3), arrays(3)) for _ in range(2)]
    monkeypatch.undo()
    assert not list(two.folder.glob(".writing*"))
    assert two.load_newest(QUIET).progress.epoch == (3 if files(two.folder) != before else 2)


def test_a_quota_that_is_spent_is_told_as_a_full_disk(two, monkeypatch):
    monkeypatch.setattr(os, "fsync", Fail(None, OSError(errno.EDQUOT, "Disk quota exceeded"), 1))
    with pytest.raises(DiskFullError, match=r"bytes, [0-9,]+ more than it can have"):
        two.write(progress(3), arrays(3))


def test_the_bytes_that_are_missing_are_those_the_disk_has_not(two, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(np, "save", Fail(None, OSError(errno.ENOSPC, "No space left on device"), 1))
    with pytest.raises(DiskFullError) as full:
        two.write(progress(3), arrays(3))
    needs, missing = (
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:bytes|more)", str(full.value))
    )
    assert needs > 1000
    assert missing == needs - 1000


def test_best_weights_that_find_no_room_leave_those_before(saves, monkeypatch):
    first = best(saves, 0, b"first")
    saves.write(progress(1, first), arrays(1))
    before = files(saves.folder)
    monkeypatch.setattr(os, "fsync", Fail(None, OSError(errno.ENOSPC, "No space left on device"), 1))
    with pytest.raises(OSError, match="No space"):
        best(saves, 1, b"second")
    monkeypatch.undo()
    saves.delete_temporary_files()
    assert files(saves.folder) == before
    assert saves.load_newest(QUIET).progress.best == first


@pytest.mark.parametrize("at", [1, 2])
def test_a_copy_that_finds_no_room_is_told_and_the_original_stays(saves, tmp_path, monkeypatch, at):
    saves.write(progress(1, best(saves, 0, b"weights")), arrays(1))
    saved, before = saves.load_newest(QUIET), files(saves.folder)
    (tmp_path / "other").mkdir()
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(shutil, "copyfile", Fail(shutil.copyfile, full, at))
    with pytest.raises(DiskFullError, match=rf"a copy of the checkpoint in {tmp_path}/other needs [0-9,]+ bytes"):
        saves.copy(saved, tmp_path / "other")
    assert files(saves.folder) == before
    assert not list((tmp_path / "other").rglob(".writing*"))


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system"), PermissionError(13, "Permission denied")])
def test_a_folder_that_cannot_be_written_to_keeps_its_states(two, monkeypatch, error):
    before = files(two.folder)
    monkeypatch.setattr(saving, "_write_npz", Fail(None, error, 1))
    with pytest.raises(OSError, match=error.strerror):
        two.write(progress(3), arrays(3))
    assert files(two.folder) == before
    assert two.load_newest(QUIET).progress.epoch == 2


def test_what_a_killed_process_was_writing_is_removed(two):
    (two.folder / ".writing-checkpoint-000003.npz").write_bytes(b"half")
    (two.folder / ".writing-best").mkdir()
    (two.folder / ".writing-best" / "best.weights.h5").write_bytes(b"half")
    (two.folder.parent / ".writing-abc.csv").write_bytes(b"half")
    two.delete_temporary_files()
    assert not [path for path in two.folder.parent.rglob("*") if path.name.startswith(".writing")]
    assert len(two.states()) == 2


# The best weights


def test_best_weights_come_out_with_what_was_reported_of_them(saves):
    found = best(saves, 4, b"weights")
    out = saves.copy_best_to_run(found)
    run = saves.folder.parent
    assert (run / "best.weights.h5").read_bytes() == b"weights"
    assert (run / "report.csv").read_text() == "epoch 4\n"
    assert out == {**found, "file": "best.weights.h5"}
    assert saves.copy_best_to_run(out) == out


def test_the_same_weights_kept_twice_are_one_folder(saves):
    assert best(saves, 1, b"same") == best(saves, 1, b"same")
    assert len(list(saves.folder.iterdir())) == 1


def test_a_copy_goes_on_by_itself(saves, tmp_path):
    found = best(saves, 0, b"weights")
    saves.write(progress(1, found), arrays(1))
    (tmp_path / "other").mkdir()
    saves.copy(saves.load_newest(QUIET), tmp_path / "other")
    shutil.rmtree(saves.folder)
    again = CheckpointStore(tmp_path / "other").load_newest(QUIET)
    assert again.progress == progress(1, found)
    assert (tmp_path / "other" / found["file"]).with_name("report.csv").is_file()


def test_in_the_end_only_the_newest_state_stays(two):
    best(two, 0, b"weights")
    newest = two.states()[0]
    two.keep_only_newest()
    assert list(two.folder.iterdir()) == [newest]


def test_best_weights_that_no_state_speaks_of_make_room(saves):
    saves.write(progress(1, best(saves, 0, b"first")), arrays(1))
    orphan = saves.folder.parent / best(saves, 1, b"second")["file"]
    again = CheckpointStore(saves.folder.parent)
    again.load_newest(QUIET)
    again.forget_orphans()
    assert not orphan.exists()
    assert again.load_newest(QUIET).progress.epoch == 1


def test_best_weights_of_a_state_that_cannot_be_read_here_stay(saves, monkeypatch):
    saves.write(progress(1, best(saves, 0, b"first")), arrays(1))
    monkeypatch.setattr("podium.training.checkpoints.FORMAT", 2)
    newer = best(saves, 1, b"second")
    saves.write(progress(2, newer), arrays(2))
    monkeypatch.undo()
    again = CheckpointStore(saves.folder.parent)
    again.load_newest(QUIET)
    again.forget_orphans()
    assert (saves.folder.parent / newer["file"]).is_file()
