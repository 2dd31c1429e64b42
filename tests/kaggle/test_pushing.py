"""`podium kernel push` against the stand-in: a push that was interrupted is found, and never repeated blindly."""

import json

import pytest
from rich.console import Console
from standin.faults import Fault

from podium.config.kaggle_names import KernelRef
from podium.errors import KaggleError, UnreachableError
from podium.kaggle.client import sign_in
from podium.kaggle.pushing import CHECKS, find_push, push, push_unless_pushed
from podium.kaggle.records import read_records
from podium.kernel.building import KernelBuilder, make_job
from podium.kernel.metadata import Machine

NAME = "ada/podium-tiny-fold0"


class Killed(BaseException):
    pass


class Pusher:
    def __init__(self, config, runs):
        self.config, self.runs, self.kaggle, self.console = config, runs, sign_in(), Console(record=True, width=300)

    def built(self, internet=False, **options):
        job = make_job(self.config, folds=(0,), **options)
        return KernelBuilder([self.config], Machine("none", internet), self.runs, "ada").assemble(job)

    def push(self, force=False, **options):
        return push_unless_pushed(self.kaggle, self.built(**options), self.runs, self.console, force=force)

    @property
    def said(self):
        return self.console.export_text().splitlines()


@pytest.fixture
def pusher(standin, tiny_competition, tmp_path, no_waiting, monkeypatch):
    monkeypatch.setattr("podium.kaggle.pushing.pause", lambda seconds: None)
    standin.add_competition("tiny-squares", tiny_competition.folder, lambda rows: 0.5)
    return Pusher(tiny_competition.member(), tmp_path / "runs")


def count(standin):
    return len(standin.versions())


def test_a_killed_push_is_found_by_the_next_one(pusher, standin, monkeypatch):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("podium.kaggle.pushing.record_push", killed)
        with pytest.raises(Killed):
            pusher.push()
    standin.finish(NAME)  # it may have finished meanwhile
    assert str(pusher.push().ref) == f"{NAME}/1"
    assert pusher.said == [
        f"{NAME}: an earlier push has no answer and may be running; looking for it",
        f"{NAME}/1: the earlier push; not pushed again",
    ]
    assert count(standin) == 1
    assert [str(record.ref) for record in read_records(pusher.runs)] == [f"{NAME}/1"]


def test_a_push_whose_response_is_lost_is_found_at_once(pusher, standin):
    standin.fail("SaveKernel", Fault.reset_before(after_effect=True))
    assert str(pusher.push().ref) == f"{NAME}/1"
    assert count(standin) == 1


def test_a_push_that_cannot_be_found_yet_may_be_running(pusher, standin):
    standin.fail("SaveKernel", Fault.reset_before(after_effect=True))
    standin.when("SaveKernel", lambda: standin.fail("GetKernel", Fault.status(503), times=None))
    with pytest.raises(UnreachableError, match="may be running all the same: run the same command again"):
        pusher.push()
    standin.heal()
    assert str(pusher.push().ref) == f"{NAME}/1"
    assert count(standin) == 1


def test_a_push_that_never_arrived_is_repeated_after_several_looks(pusher, standin):
    standin.fail("SaveKernel", Fault.reset_before())
    with pytest.raises(UnreachableError):
        pusher.push()
    looks = standin.count("GetKernel")
    assert str(pusher.push().ref) == f"{NAME}/1"
    assert f"{NAME}: it never reached Kaggle" in pusher.said
    assert standin.count("GetKernel") - looks == CHECKS + 2


def test_another_job_is_pushed_beside_the_interrupted_one(pusher, standin):
    standin.fail("SaveKernel", Fault.reset_before(after_effect=True))
    standin.when("SaveKernel", lambda: standin.fail("GetKernel", Fault.status(503), times=None))
    with pytest.raises(UnreachableError):
        pusher.push()
    standin.heal()
    assert str(pusher.push(internet=True).ref) == f"{NAME}/2"
    assert f"{NAME}: the earlier push, as {NAME}/1, may be running" in pusher.said
    assert [str(record.ref) for record in read_records(pusher.runs)] == [f"{NAME}/1", f"{NAME}/2"]


def test_a_version_found_behind_a_newer_one_is_the_interrupted_push(pusher, standin, monkeypatch):
    def killed(*_):
        raise Killed

    built = pusher.built()
    with monkeypatch.context() as patch:
        patch.setattr("podium.kaggle.pushing.record_push", killed)
        with pytest.raises(Killed):
            push(pusher.kaggle, built, pusher.runs)
    pusher.kaggle.push(built.metadata, "print()")  # on Kaggle's pages, for example
    record = find_push(pusher.kaggle, built.ref, built.bundle.digest, pusher.runs)
    assert str(record.ref) == f"{NAME}/1"
    assert find_push(pusher.kaggle, built.ref, "another digest", pusher.runs) is None


def test_a_job_that_is_running_is_not_pushed_again(pusher, standin):
    first = pusher.push()
    assert pusher.push(time_limit=3600.0) == first
    assert pusher.said == [f"{NAME}/1: queued; not pushed again"]
    assert str(pusher.push(internet=True).ref) == f"{NAME}/2"  # other metadata


@pytest.mark.slow
@pytest.mark.parametrize("state", ["complete", "error", "cancelled"])
def test_a_script_that_has_ended_is_pushed_again_only_on_request(state, pusher, standin):
    first = pusher.push()
    standin.finish(NAME, state=state)
    assert pusher.push() == first
    assert pusher.said == [f"{NAME}/1: already pushed, {state}; --force pushes it again"]
    assert str(pusher.push(force=True).ref) == f"{NAME}/2"
    assert str(pusher.push(force=True).ref) == f"{NAME}/2"  # is running


def test_a_script_that_has_changed_is_pushed_after_the_end_of_the_other(pusher, standin):
    pusher.push(time_limit=3600.0)
    standin.finish(NAME)
    assert str(pusher.push().ref) == f"{NAME}/2"
    assert pusher.said == []


def test_a_refused_push_is_not_looked_for(pusher, standin):
    standin.fail("SaveKernel", Fault.status(400, message="Something is wrong"))
    with pytest.raises(KaggleError, match="Something is wrong"):
        pusher.push()
    assert str(pusher.push().ref) == f"{NAME}/1"
    assert pusher.said == []


def test_a_rate_limited_push_is_not_looked_for(pusher, standin):
    standin.fail("SaveKernel", Fault.status(429), times=None)
    with pytest.raises(UnreachableError):
        pusher.push()
    standin.heal()
    assert str(pusher.push().ref) == f"{NAME}/1"
    assert pusher.said == []


def test_the_record_of_a_deleted_kernel_does_not_mix_with_the_new_one(pusher, standin):
    old = pusher.push()
    old.output.mkdir()
    standin.kernels.clear()
    new = pusher.push(time_limit=3600.0)
    assert (new.ref, new.folder) == (old.ref, old.folder)
    assert not new.output.exists()
    (aside,) = old.folder.parent.glob("deleted-v1-*")
    assert json.loads((aside / "kernel.json").read_text()) == old.facts
    assert KernelRef.parse(NAME).at(1) == new.ref
