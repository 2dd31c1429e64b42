"""`podium kernel` commands against the stand-in for Kaggle; nothing is trained."""

import json
from pathlib import Path

import pytest

from podium.kernel.report import REPORT

BEST = {"stage": "all", "epoch": 1, "monitor": "val_accuracy", "score": 0.75, "image_size": 32, "digest": "d"}
RUN = "runs/tiny-12345678/fold0"
REF = "ada/podium-tiny-fold0"


def outputs(**more):
    """The output of podium's script: a report and a run."""
    state = {"status": "trained", "best": BEST}
    entry = {"member": "tiny", "fold": 0, "run": RUN, "predictions": None, "state": state}
    report = {"status": "done", "runs": [entry]} | more
    files = {REPORT: json.dumps(report), f"{RUN}/state.json": json.dumps(state), f"{RUN}/best.weights.h5": "weights"}
    return {name: text.encode() for name, text in files.items()}


@pytest.fixture
def kaggle(standin, tiny_competition, tmp_path):
    """The stand-in, whose kernels finish at once with this output."""

    def run(version, inputs, working):
        for name, content in outputs().items():
            (working / name).parent.mkdir(parents=True, exist_ok=True)
            (working / name).write_bytes(content)
        return 0, ["epoch 1\n", "epoch 2\n"]

    standin.runner = run
    standin.add_competition("tiny-squares", tiny_competition.folder, answers=tiny_competition.answers)
    return standin


@pytest.fixture
def member(tiny_competition):
    return tiny_competition.member()


def test_dry_run_checks_everything_and_pushes_nothing(podium, kaggle, member):
    ended = podium("kernel", "push", member, "--fold", "0", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert "GPU hours left this week: 30.0 of 30" in ended.out
    assert f"{REF}: ready to push; nothing was sent" in ended.out
    assert kaggle.count("SaveKernel") == 0
    assert json.loads(Path("kernel-metadata.json").read_text())["id"] == REF


def test_push_and_follow_downloads_the_run(podium, kaggle, member):
    ended = podium("kernel", "push", member, "--fold", "0", "--follow")
    assert (ended.code, ended.err) == (0, "")
    assert f"{REF}/1: pushed, https://" in ended.out
    assert "epoch 1\nepoch 2\n" in ended.out
    assert f"{RUN}: trained" in ended.out
    assert json.loads(Path(RUN, "kernel.json").read_text())["kernel"] == f"{REF}/1"
    record = Path("runs/kernels/ada/podium-tiny-fold0/v1")
    facts = json.loads((record / "kernel.json").read_text())
    assert (facts["kernel"], facts["config"]) == (f"{REF}/1", "tiny.yaml")
    assert (record / "kernel.py").read_text() == kaggle.version(f"{REF}/1").request.text
    again = podium("kernel", "pull", f"{REF}/1")
    assert (again.code, again.err) == (0, "")
    assert kaggle.count("output-file") == 3


def test_pushed_metadata_is_explicit(podium, kaggle, member):
    assert podium("kernel", "push", member, "--fold", "0", "--gpu", "none", "--internet").code == 0
    request = kaggle.version(REF).request
    assert (request.enable_gpu, request.enable_internet, request.is_private) == (False, True, True)
    assert request.machine_shape == ""
    assert request.competition_data_sources == ["tiny-squares"]
    assert request.session_timeout_seconds == 12 * 3600


def test_all_folds_pushes_a_kernel_for_each(podium, kaggle, member):
    assert podium("kernel", "push", member, "--all-folds").code == 0
    assert [version.ref for version in kaggle.versions()] == [f"{REF}/1", "ada/podium-tiny-fold1/1"]


def test_competition_that_was_not_joined_is_an_error_before_a_push(podium, kaggle, member):
    kaggle.competitions["tiny-squares"].rules_accepted = False
    ended = podium("kernel", "push", member, "--fold", "0")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "accept its rules at https://www.kaggle.com/competitions/tiny-squares/rules" in ended.err
    assert kaggle.count("SaveKernel") == 0


def test_used_up_gpu_hours_are_an_error_before_a_push(podium, kaggle, member):
    kaggle.gpu_hours(used=30)
    ended = podium("kernel", "push", member, "--fold", "0")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "no GPU hours are left this week" in ended.err
    assert podium("kernel", "push", member, "--fold", "0", "--gpu", "none").code == 0


def test_kernel_of_another_owner_is_not_pushed(podium, kaggle, member):
    assert podium("kernel", "build", member, "--fold", "0").code == 0
    metadata = Path("kernel-metadata.json")
    metadata.write_text(metadata.read_text().replace("ada/", "grace/"))
    ended = podium("kernel", "push", member, "--fold", "0")
    assert ended.code == 1
    assert "belongs to grace, and you are signed in as ada" in ended.err


def test_status_lists_kernels_that_are_not_downloaded(podium, kaggle, member):
    assert "no pushed kernel is waiting to be downloaded" in podium("kernel", "status").out
    kaggle.runner = None
    assert podium("kernel", "push", member, "--all-folds").code == 0
    kaggle.finish(REF, state="error", failure="it broke", log="Traceback\nValueError: no\n")
    del kaggle.kernels["ada", "podium-tiny-fold1"]
    shown = podium("kernel", "status").out
    assert f"{REF}/1" in shown
    assert "it broke" in shown
    assert "unknown" in shown
    ended = podium("kernel", "pull", REF)
    assert ended.code == 1
    assert "ended with status error (it broke); --even-failed downloads its output; end of its log:" in ended.err
    assert podium("kernel", "pull", REF, "--even-failed").code == 0


def test_log_of_a_running_kernel_says_how_to_follow_it(podium, kaggle, member):
    kaggle.runner = None
    assert podium("kernel", "push", member, "--fold", "0").code == 0
    kaggle.begin(REF)
    ended = podium("kernel", "logs", REF)
    assert (ended.code, ended.out) == (
        0, f"{REF} is running: Kaggle stores its log at the end; -f follows it until then\n",
    )  # fmt: skip


def test_output_of_other_kernels_can_be_downloaded(podium, kaggle):
    kaggle.add_kernel("bob/public-one", {"weights.h5": b"bytes"}, is_private=False)
    ended = podium("kernel", "pull", "bob/public-one")
    assert (ended.code, ended.err) == (0, "")
    assert "its output has no podium-report.json, so nothing was copied to runs" in ended.out
    assert Path("runs/kernels/bob/public-one/v1/output/weights.h5").read_bytes() == b"bytes"


@pytest.mark.parametrize("command", ["status", "logs", "pull"])
def test_unknown_kernel_is_one_line(command, podium, kaggle):
    ended = podium("kernel", command, "ada/none")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "on Kaggle" in ended.err


def test_weights_are_downloaded_by_a_kernel_with_internet_and_no_gpu(podium, kaggle, tiny_competition):
    kaggle.runner = None
    stages = [{"name": "a", "unfreeze": "all", "epochs": 1, "batch_size": 4, "image_size": 96, "learning_rate": 0.1}]
    one = tiny_competition.member("one", backbone={"name": "Xception", "weights": "imagenet"}, stages=stages)
    ended = podium("kernel", "push", "--weights", one)
    assert (ended.code, ended.err) == (0, "")
    request = kaggle.version("ada/podium-weights-one").request
    assert (request.enable_internet, request.enable_gpu) == (True, False)
    assert "backbone.weights: kaggle-kernel:ada/podium-weights-one/Xception-imagenet.weights.h5" in ended.out
    assert podium("kernel", "push", "--weights", one, "--fold", "1").code == 2


def test_unknown_source_is_an_error(podium, kaggle, tiny_competition):
    weights = {"name": "MobileNetV2", "weights": "kaggle-dataset:ada/none/file.weights.h5"}
    ended = podium("kernel", "push", tiny_competition.member(backbone=weights), "--fold", "0")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "no dataset ada/none" in ended.err
    assert not Path("runs/kernels").exists()
