"""`podium kernel` commands against the stand-in for Kaggle; nothing is trained."""

import io
import json
import os
import signal
from pathlib import Path

import pytest
from standin.sessions import run_pushed

from podium.kernel.rehearsal import Outcome
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
    downloads = [call.request.path.rsplit("/", 1)[1] for call in kaggle.calls if call.method == "output-file"]
    assert sorted(set(downloads)) == ["best.weights.h5", REPORT, "state.json"]
    assert len(downloads) == 3 + 2  # each pull looks at the report first


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


@pytest.mark.slow
@pytest.mark.parametrize("state", ["complete", "error"])
def test_all_folds_killed_between_two_pushes_pushes_only_the_rest(state, podium, kaggle, member):
    kaggle.runner = None
    kaggle.when("GetAcceleratorQuotaStatistics", lambda: os.kill(os.getpid(), signal.SIGTERM), call=2)
    assert podium("kernel", "push", member, "--all-folds").code != 0
    assert [version.ref for version in kaggle.versions()] == [f"{REF}/1"]
    kaggle.finish(REF, state=state)
    ended = podium("kernel", "push", member, "--all-folds")
    assert (ended.code, ended.err) == (0, "")
    assert f"{REF}/1: already pushed, {state}; --force pushes it again" in ended.out
    assert [version.ref for version in kaggle.versions()] == [f"{REF}/1", "ada/podium-tiny-fold1/1"]
    assert podium("kernel", "push", member, "--fold", "0", "--force").code == 0
    assert [version.ref for version in kaggle.versions()][-1] == f"{REF}/2"


def test_more_kernels_than_gpu_sessions_are_left_to_a_fleet(podium, kaggle, tiny_competition):
    member = tiny_competition.change(folds={"kind": "stratified", "count": 3}).member()
    ended = podium("kernel", "push", member, "--all-folds")
    assert (ended.code, kaggle.versions()) == (1, [])
    assert f"these are 3 kernels, and Kaggle runs 2 with a GPU at a time: podium fleet up {member}" in ended.err
    assert podium("kernel", "push", member, "--all-folds", "--gpu", "none").code == 0


def test_a_push_beyond_the_gpu_sessions_says_what_waits_for_one(podium, kaggle, member):
    kaggle.runner = None
    assert podium("kernel", "push", member, "--all-folds").code == 0
    ended = podium("kernel", "push", member, "--fold", "0", "--limit", "8")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "session count of 2 reached; podium fleet up waits until it can push" in ended.err


def test_less_gpu_time_than_a_kernel_may_take_needs_a_yes(podium, kaggle, member):
    kaggle.gpu_hours(used=28)
    push = ("kernel", "push", member, "--fold", "0")
    ended = podium(*push)
    assert (ended.code, len(ended.err.splitlines()), kaggle.versions()) == (1, 1, [])
    assert "not pushed: it may take 12.0 GPU hours: with those left it stops after 1h35m" in ended.err
    assert podium(*push, "--dry-run").code == 0
    assert podium(*push, "--time-limit", "1h").code == 0
    assert podium(*push, "--yes").code == 0
    first, second = (version.request for version in kaggle.versions())
    assert '"time_limit": 3600.0' in first.text
    assert '"time_limit": 5' in second.text
    assert 7000 < second.session_timeout_seconds <= 2 * 3600


@pytest.mark.parametrize(("answers", "pushed"), [("y", 1), ("perhaps\nYES", 1), ("n", 0), ("", 0)])
def test_less_gpu_time_is_a_question_on_a_terminal(answers, pushed, podium, kaggle, member, monkeypatch):
    kaggle.gpu_hours(used=28)
    keyboard, terminal = os.openpty()
    os.write(keyboard, f"{answers}\n".encode())
    with os.fdopen(terminal) as stdin, monkeypatch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        ended = podium("kernel", "push", member, "--fold", "0")
    os.close(keyboard)
    assert "it stops after 1h35m and saves a checkpoint, unless it is done by then. Push it? [y/N]:" in ended.err
    assert (ended.code, len(kaggle.versions())) == (0 if pushed else 1, pushed)
    assert ("not pushed: it may take 12.0 GPU hours" in ended.err) != bool(pushed)


@pytest.mark.parametrize("stdin", ["closed", "a file"])
def test_without_a_terminal_nothing_is_asked(stdin, podium, kaggle, member, monkeypatch):
    kaggle.gpu_hours(used=28)
    monkeypatch.setattr("sys.stdin", None if stdin == "closed" else io.StringIO("y\n"))
    ended = podium("kernel", "push", member, "--fold", "0")
    assert (ended.code, len(ended.err.splitlines()), kaggle.versions()) == (1, 1, [])


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
    assert "it broke: ValueError: no" in shown
    assert "unknown" in shown
    assert "there is no kernel ada/podium-tiny-fold1/1 on Kaggle" in shown
    ended = podium("kernel", "pull", REF)
    assert ended.code == 1
    assert (
        "ended with status error (it broke: ValueError: no); --even-failed downloads its output; end of its log:"
        in ended.err
    )
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
    kaggle.finish("ada/podium-weights-one")
    again = podium("kernel", "push", "--weights", one)
    assert "ada/podium-weights-one/1: already pushed, complete" in again.out
    assert again.out.splitlines()[-1] == ended.out.splitlines()[-1]
    assert len(kaggle.versions()) == 1


def test_unknown_source_is_an_error(podium, kaggle, tiny_competition):
    weights = {"name": "MobileNetV2", "weights": "kaggle-dataset:ada/none/file.weights.h5"}
    ended = podium("kernel", "push", tiny_competition.member(backbone=weights), "--fold", "0")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "no dataset ada/none" in ended.err
    assert not list(Path("runs/kernels").glob("*/*/*/kernel.json"))


# Pretrained weights, machines and notebooks

ONE_STAGE = {"name": "a", "unfreeze": "all", "epochs": 1, "batch_size": 4, "image_size": 96, "learning_rate": 0.1}
IMAGENET = {"name": "Xception", "weights": "imagenet"}


@pytest.fixture
def pretrained(tiny_competition):
    """A member that starts from ImageNet's weights."""
    return tiny_competition.member("pretrained", backbone=IMAGENET, stages=[ONE_STAGE])


def test_weights_to_download_without_internet_are_refused_with_the_ways_out(podium, kaggle, pretrained):
    ended = podium("kernel", "push", pretrained, "--fold", "0")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    for words in (
        "the kernel has no internet and would have to download imagenet weights of Xception (pretrained)",
        "--internet;",
        f"podium kernel push --weights {pretrained},",
        "--set backbone.weights=kaggle-kernel:ada/podium-weights-pretrained/Xception-imagenet.weights.h5;",
        "in a Kaggle Model (kaggle-model:<owner>/<model>/<framework>/<variation>/<version>/<file>)",
        "in a dataset (kaggle-dataset:<owner>/<slug>/<file>, uploaded with podium data push DIR)",
    ):
        assert words in ended.err
    assert kaggle.count("SaveKernel") == 0


def test_weights_kernel_is_the_same_for_other_settings_of_the_member(podium, kaggle, pretrained):
    settings = ["--set", "head.dropout=0.4", "--set", "backbone.freeze_batchnorm=false"]
    ended = podium("kernel", "push", pretrained, "--fold", "0", *settings)
    assert f"podium kernel push --weights {pretrained} --set backbone.freeze_batchnorm=false, and" in ended.err
    assert "podium kernel push --weights" in ended.err
    assert "dropout" not in ended.err


def test_each_way_out_works(podium, kaggle, pretrained):
    assert podium("kernel", "push", pretrained, "--fold", "0", "--internet").code == 0
    kaggle.models["ada/nets/keras/xception/1"] = {"x.weights.h5": b""}
    model = "backbone.weights=kaggle-model:ada/nets/keras/xception/1/x.weights.h5"
    assert podium("kernel", "push", pretrained, "--fold", "0", "--set", model).code == 0
    assert kaggle.versions()[-1].request.model_data_sources == ["ada/nets/keras/xception/1"]
    shown = podium("kernel", "push", "--weights", pretrained).out
    (setting,) = [line for line in shown.splitlines() if "when it is complete" in line]
    value = setting.partition("backbone.weights: ")[2]
    assert podium("kernel", "push", pretrained, "--fold", "0", "--set", f"backbone.weights={value}").code == 0
    assert kaggle.versions()[-1].request.kernel_data_sources == ["ada/podium-weights-pretrained"]


def test_ways_out_of_an_ensemble_name_its_members(podium, kaggle, tiny_competition, pretrained, member):
    ensemble = tiny_competition.ensemble([pretrained, member])
    ended = podium("kernel", "push", ensemble)
    weights = "kaggle-kernel:ada/podium-weights-tiny-ensemble/Xception-imagenet.weights.h5"
    assert f"--set pretrained.backbone.weights={weights}" in ended.err
    assert podium("kernel", "push", ensemble, "--set", f"pretrained.backbone.weights={weights}", "--dry-run").code == 0


def test_fleet_spends_no_session_on_weights_that_cannot_be_downloaded(podium, kaggle, tiny_competition, pretrained):
    ended = podium("fleet", "up", tiny_competition.ensemble([pretrained]))
    assert ended.code == 1
    assert "the kernel has no internet and would have to download imagenet weights of Xception" in ended.err
    assert kaggle.count("SaveKernel") == 0


def test_build_warns_of_weights_that_cannot_be_downloaded(podium, pretrained):
    ended = podium("kernel", "build", pretrained, "--fold", "0")
    assert ended.code == 0
    assert "podium kernel push would refuse it: the kernel has no internet and would have to download" in ended.out
    assert "would refuse" not in podium("kernel", "build", pretrained, "--fold", "0", "--internet").out


def test_rehearsal_notices_weights_that_cannot_be_downloaded(podium, pretrained, tiny_competition):
    assert podium("kernel", "build", pretrained, "--fold", "0").code == 0
    ended = podium("kernel", "run", "--data", tiny_competition.folder)
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "would have to download imagenet weights of Xception (pretrained): build it with --internet" in ended.err
    assert not Path("build/rehearsal").exists()


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        ("imagenet", "a dry run uses random weights; the kernel has no internet and would have to download imagenet"),
        (
            "kaggle-dataset:ada/x/y.h5",
            "a dry run uses random weights; not checked: kaggle-dataset:ada/x/y.h5 weights of",
        ),
    ],
)
def test_dry_run_says_that_weights_were_not_checked(weights, line, podium, tiny_competition, monkeypatch):
    monkeypatch.setattr("podium.workflows.kernels.rehearse", lambda *_, **__: Outcome(Path("w"), code=3))
    path = tiny_competition.member(backbone={**IMAGENET, "weights": weights}, stages=[ONE_STAGE])
    assert podium("kernel", "build", path).code == 0
    assert line in podium("kernel", "run", "--data", tiny_competition.folder, "--dry-run").out


def test_kaggle_model_of_a_preset_is_attached_and_mounted(podium, kaggle, tmp_path):
    (tmp_path / "boats.yaml").write_text(
        "slug: boats\nsource: yolo\ndata_at_kaggle: kaggle-competition:tiny-squares\n"
        "backbone: {preset: 'kaggle://keras/resnetv1/keras/resnet_50_imagenet/2'}\n"
    )
    name = "keras/resnetv1/keras/resnet_50_imagenet/2"
    kaggle.models[name] = {"config.json": b"{}"}
    ended = podium("kernel", "push", tmp_path / "boats.yaml")
    assert (ended.code, ended.err) == (0, "")
    assert kaggle.version("ada/podium-boats").request.model_data_sources == [name]


def test_preset_of_another_hub_is_refused_without_internet(podium, kaggle, tmp_path):
    (tmp_path / "boats.yaml").write_text(
        "slug: boats\nsource: yolo\ndata_at_kaggle: kaggle-competition:tiny-squares\nbackbone: {preset: 'hf://ada/resnet'}\n"
    )
    ended = podium("kernel", "push", tmp_path / "boats.yaml")
    assert (ended.code, kaggle.count("SaveKernel")) == (1, 0)
    assert "would have to download hf://ada/resnet (boats)" in ended.err
    assert "--set backbone.preset=kaggle-kernel:ada/podium-weights-boats/ada-resnet" in ended.err


def test_internet_needs_a_verified_phone_number(podium, kaggle, member):
    line = "internet is only for accounts with a verified phone number"
    assert line in podium("kernel", "push", member, "--fold", "0", "--internet").out
    assert line not in podium("kernel", "push", member, "--fold", "1").out


def test_output_above_kaggles_limit_is_refused_before_a_push(podium, kaggle, tiny_competition):
    backbone = {"name": "ConvNeXtXLarge", "weights": "none"}
    stage = {**ONE_STAGE, "ema": 0.999}
    ended = podium("kernel", "push", tiny_competition.member(backbone=backbone, stages=[stage]), "--fold", "0")
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "Kaggle keeps at most 20 GB of output" in ended.err
    assert kaggle.count("SaveKernel") == 0


def test_kernel_asks_for_the_machine_and_checks_for_it(podium, kaggle, member):
    kaggle.runner = None
    assert podium("kernel", "push", member, "--fold", "0", "--gpu", "l4").code == 0
    request = kaggle.version(REF).request
    assert (request.enable_gpu, request.enable_tpu, request.machine_shape) == (True, False, "NvidiaL4")
    assert '"accelerator": "NvidiaL4"' in request.text


def test_machine_that_the_user_wrote_into_the_metadata_is_checked_for(podium, member):
    assert podium("kernel", "build", member, "--fold", "0").code == 0
    metadata = Path("kernel-metadata.json")
    metadata.write_text(metadata.read_text().replace("NvidiaTeslaT4", "NvidiaL4"))
    assert podium("kernel", "build", member, "--fold", "0").code == 0
    assert '"accelerator": "NvidiaL4"' in Path("build/kernel.py").read_text()
    assert json.loads(metadata.read_text())["machine_shape"] == "NvidiaL4"


@pytest.mark.parametrize("gpu", ["p100", "tpu-v5e8", "t5"])
def test_machine_that_kernels_do_not_get_is_one_line(gpu, podium, kaggle, member):
    ended = podium("kernel", "push", member, "--fold", "0", "--gpu", gpu)
    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert "--gpu t4" in ended.err or "expected one of none, t4, l4" in ended.err
    assert kaggle.count("SaveKernel") == 0


@pytest.mark.slow
def test_notebook_is_pushed_and_run(podium, kaggle, member, tiny_competition):
    kaggle.runner = lambda version, inputs, working: run_pushed(version, inputs, working, {"dry_run": True})
    ended = podium("kernel", "push", member, "--fold", "0", "--notebook", "--compress", "--follow")
    assert (ended.code, ended.err) == (0, "")
    request = kaggle.version(REF).request
    assert request.kernel_type == "notebook"
    assert request.text == Path("build/kernel.ipynb").read_text()
    assert "done after" in ended.out


@pytest.mark.slow
def test_notebook_is_rehearsed(podium, member, tiny_competition):
    assert "build/kernel.ipynb: " in podium("kernel", "build", member, "--fold", "0", "--notebook").out
    ended = podium("kernel", "run", "--data", tiny_competition.folder, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert "done after" in ended.out


def test_rehearsal_mounts_a_model_from_kerashubs_cache(podium, tmp_path, monkeypatch):
    name, mounted = "keras/resnetv1/keras/resnet_50_imagenet/2", {}
    (tmp_path / "boats.yaml").write_text(
        f"slug: boats\nsource: yolo\ndata_at_kaggle: kaggle-dataset:ada/boats\nbackbone: {{preset: 'kaggle://{name}'}}\n"
    )
    monkeypatch.setattr(
        "podium.workflows.kernels.rehearse",
        lambda script, inputs, root, **_: mounted.update(inputs) or Outcome(Path("w"), code=3),
    )
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    assert podium("kernel", "build", tmp_path / "boats.yaml").code == 0
    ended = podium("kernel", "run", "--data", tmp_path)
    assert f"no local folder to mount for the model {name}; name one with --input {name}=DIR" in ended.err
    folder = tmp_path / "cache" / "models" / name
    folder.mkdir(parents=True)
    podium("kernel", "run", "--data", tmp_path)
    assert mounted["model", name] == folder
