"""The entry point of the script: what it restores, runs and reports. Training itself is tested elsewhere."""

import json
import os
import select
import stat
from pathlib import Path

import keras
import pytest
from boxed_images import detector, draw_set, stage
from rich.console import Console
from tiny_presets import save_resnet

from podium.config.loading import load_member
from podium.data.workers import worker_pool
from podium.detection.dataset import write_dataset
from podium.detection.loading import Detector, load_detector
from podium.errors import ConfigError, DataError, MachineError, RunError, StoppedError
from podium.files import digest_of_file
from podium.kernel.job import JOB_CHANGES, Job
from podium.kernel.pretrained import config_key, pretrained_files
from podium.kernel.report import REPORT
from podium.kernel_main import restore, run_job
from podium.options import RunOptions
from podium.workflows.kernel_detector import build_from_inputs

DIGEST = "12345678"
ABOUT = {"title": "a test", "podium": "0.1.0", "commit": "c", "config_digest": DIGEST}
RESUMING = Job(kind="member", resume_from="ada/podium-tiny")
QUIET = Console(quiet=True)


class Kernel:
    """Kaggle's folders, with a script unpacked."""

    def __init__(self, folder):
        self.unpacked, self.working, self.mounted = (folder / name for name in ("unpacked", "working", "input"))
        self.configs = self.unpacked / "configs"
        for path in (self.configs, self.working, self.mounted):
            path.mkdir(parents=True)

    def run(self, **fields):
        job = Job(**{"kind": "member", "config": "tiny.yaml", **fields})
        run_job(job.model_dump(mode="json"), ABOUT, self.unpacked)
        return json.loads(Path(REPORT).read_text())

    def restore(self, job):
        restore(job, DIGEST, self.unpacked, Path("runs"), QUIET)

    def write_report(self, folder, **fields):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT).write_text(json.dumps(ABOUT | {"status": "stopped"} | fields))


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    kernel = Kernel(tmp_path / "kaggle")
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(kernel.mounted))
    monkeypatch.chdir(kernel.working)
    return kernel


@pytest.fixture
def member_kernel(kernel, tiny_competition):
    for path in (tiny_competition.member(), tiny_competition.config):
        (kernel.configs / path.name).write_text(path.read_text())
    (kernel.mounted / "competitions").mkdir()
    (kernel.mounted / "competitions" / "tiny-squares").symlink_to(tiny_competition.folder)
    return kernel


@pytest.fixture
def detector_kernel(kernel):
    dataset = draw_set(kernel.mounted / "datasets" / "ada" / "squares")
    write_dataset(dataset, kernel.unpacked / "boxes" / "squares")
    settings = detector(data_at_kaggle="kaggle-dataset:ada/squares", stages=[stage()])
    (kernel.configs / "squares.yaml").write_text(settings.model_dump_json())
    return kernel


# Members


def test_running_out_of_time_is_reported_and_does_not_fail(member_kernel):
    report = member_kernel.run(folds=(0,), time_limit=0.001)
    assert report["status"] == "stopped"
    assert report["reason"].startswith("--time-limit 0s: stopped before the first step")
    assert report["runs"][0]["predictions"] is None


def test_files_of_the_results_are_listed_with_their_sizes(member_kernel, monkeypatch):
    def train(runs, console):
        for path, content in {"best.weights.h5": "weights", "empty": "", "deep/er.csv": "a,b", ".hidden": "x"}.items():
            file = runs[0].run.path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        Path("runs/elsewhere").write_text("not a result")

    monkeypatch.setattr("podium.workflows.kernel_members.train_and_predict", train)
    report = member_kernel.run(folds=(0,))
    (run,) = (entry["run"] for entry in report["runs"])
    files = report["files"]
    assert files.pop("sample-submission.csv") == Path("sample-submission.csv").stat().st_size
    assert files == {f"{run}/best.weights.h5": 7, f"{run}/deep/er.csv": 3}


def test_running_out_of_time_before_predicting_is_reported(member_kernel, monkeypatch):
    def stop(runs, console):
        raise StoppedError("trained; predicting takes too long")

    monkeypatch.setattr("podium.workflows.kernel_members.train_and_predict", stop)
    assert member_kernel.run(folds=(0,))["reason"] == "trained; predicting takes too long"


def test_packed_competition_file_is_used_with_its_dataset(member_kernel, tiny_competition):
    cropped = member_kernel.configs / "set" / "competition.yaml"
    cropped.parent.mkdir()
    cropped.write_text(tiny_competition.config.read_text().replace("slug: tiny-squares", "slug: cropped-squares"))
    dataset = member_kernel.mounted / "datasets" / "ada" / "cropped"
    dataset.parent.mkdir(parents=True)
    dataset.symlink_to(tiny_competition.folder)
    overrides = ("competition=a/competition.yaml", "competition.data_at_kaggle=kaggle-dataset:ada/cropped")
    report = member_kernel.run(overrides=overrides, competition="set/competition.yaml", folds=(0,), time_limit=0.001)
    assert report["status"] == "stopped"
    assert [path.name.startswith("cropped-squares-") for path in Path("runs/folds").glob("*.csv")] == [True]


def test_rehearsal_can_change_the_job(member_kernel, monkeypatch):
    monkeypatch.setenv(JOB_CHANGES, json.dumps({"folds": [1], "time_limit": 0.001}))
    assert [entry["fold"] for entry in member_kernel.run(folds=(0,))["runs"]] == [1]


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (["Tesla P100-PCIE-16GB"], "asked for NvidiaTeslaT4, but got Tesla P100-PCIE-16GB"),
        ([], "asked for NvidiaTeslaT4, but its session has no GPU"),
    ],
)
def test_another_machine_than_asked_for_fails_the_kernel_at_once(gpus, message, member_kernel, monkeypatch):
    monkeypatch.setattr("podium.models.devices.gpu_models", lambda: gpus)
    with pytest.raises(MachineError, match=message):
        member_kernel.run(accelerator="NvidiaTeslaT4", folds=(0,))
    assert not Path("runs").exists()


def test_rehearsal_does_not_check_the_machine(member_kernel, monkeypatch):
    monkeypatch.setenv(JOB_CHANGES, json.dumps({"time_limit": 0.001}))
    assert member_kernel.run(accelerator="NvidiaTeslaT4", folds=(0,))["status"] == "stopped"


def test_invalid_config_fails_the_kernel(member_kernel):
    path = member_kernel.configs / "tiny.yaml"
    path.write_text(path.read_text() + "augmentation: [NoSuchTransform]\n")
    with pytest.raises(ConfigError, match="NoSuchTransform"):
        member_kernel.run()
    assert not Path(REPORT).exists()


def test_worker_processes_end_before_the_script_removes_their_code(member_kernel, monkeypatch):
    handles = []

    def fail(*_):
        monkeypatch.setenv("PODIUM_WORKERS", "1")
        worker_pool().start()
        worker_pool().wait_until_ready()
        handles.extend(os.pidfd_open(pid) for pid in worker_pool().pids)
        raise DataError("no")

    monkeypatch.setattr("podium.workflows.kernel_members.run", fail)
    with pytest.raises(DataError):
        member_kernel.run()
    assert len(handles) == 1
    assert select.select(handles, [], [], 2.0)[0] == handles
    os.close(handles[0])


# Resuming


@pytest.mark.parametrize("place", ["notebooks/ada/podium-tiny", "podium-tiny"])
def test_previous_output_is_restored_in_either_layout_though_it_is_read_only(place, kernel):
    previous = kernel.mounted / place / "runs" / "tiny-12345678" / "fold0"
    previous.mkdir(parents=True)
    (previous / "state.json").write_text("{}")
    (previous / "state.json").chmod(stat.S_IRUSR)
    kernel.write_report(kernel.mounted / place)
    kernel.restore(RESUMING)
    copy = Path("runs/tiny-12345678/fold0/state.json")
    assert copy.read_text() == "{}"
    assert copy.stat().st_mode & stat.S_IWUSR


def test_output_of_another_config_is_refused(kernel):
    (kernel.mounted / "podium-tiny" / "runs").mkdir(parents=True)
    kernel.write_report(kernel.mounted / "podium-tiny", config_digest="87654321", config="other.yaml")
    with pytest.raises(DataError, match=r"is the output of ada/podium-tiny for another config \(other.yaml\)"):
        kernel.restore(RESUMING)


def test_output_of_another_version_is_refused(kernel):
    report = kernel.mounted / "podium-tiny" / REPORT
    (kernel.mounted / "podium-tiny" / "runs").mkdir(parents=True)
    kernel.write_report(kernel.mounted / "podium-tiny", attempt=1)
    expected = RESUMING.model_copy(update={"resume_digest": digest_of_file(report)})
    kernel.restore(expected)
    kernel.write_report(kernel.mounted / "podium-tiny", attempt=2)
    with pytest.raises(DataError, match="is not the version of ada/podium-tiny to resume from"):
        kernel.restore(expected)


def test_output_without_its_checkpoint_is_refused(kernel):
    (kernel.mounted / "podium-tiny" / "runs" / "tiny-12345678" / "fold0").mkdir(parents=True)
    checkpoint = f"checkpoint-000001-{'0' * 16}.npz"
    entry = {"member": "tiny", "fold": 0, "run": "runs/tiny-12345678/fold0", "checkpoint": checkpoint}
    kernel.write_report(kernel.mounted / "podium-tiny", runs=[entry])
    with pytest.raises(RunError, match="lacks runs/tiny-12345678/fold0/checkpoints/checkpoint-000001-"):
        kernel.restore(RESUMING)


def test_missing_previous_output_fails_the_kernel(kernel):
    with pytest.raises(DataError, match="the output of ada/podium-tiny, to resume from, is not mounted"):
        kernel.restore(RESUMING)


@pytest.mark.parametrize("name", ["folds/tiny-squares-x.csv", "pseudo/cars/fold-0.csv"])
def test_packed_folds_and_labels_are_restored(name, kernel):
    (kernel.unpacked / name).parent.mkdir(parents=True)
    (kernel.unpacked / name).write_text("id,fold\n")
    kernel.restore(Job(kind="member"))
    assert (Path("runs") / name).read_text() == "id,fold\n"


def test_boxes_of_the_previous_version_are_preferred_to_packed_ones(kernel):
    for folder, text in ((kernel.unpacked, "new"), (kernel.mounted / "podium-tiny" / "runs", "old")):
        (folder / "boxes" / "squares").mkdir(parents=True)
        (folder / "boxes" / "squares" / "index.json").write_text(text)
    kernel.write_report(kernel.mounted / "podium-tiny")
    for job, text in ((Job(kind="detector"), "new"), (RESUMING, "old")):
        kernel.restore(job)
        assert Path("runs/boxes/squares/index.json").read_text() == text


# Detectors


def test_detector_that_runs_out_of_time_is_reported_with_its_boxes(detector_kernel):
    report = detector_kernel.run(kind="detector", config="squares.yaml", time_limit=0.001)
    assert (report["status"], report["boxes"]) == ("stopped", "runs/boxes/squares")
    assert report["reason"].startswith("--time-limit 0s: stopped before the first step")
    assert [entry["member"] for entry in report["runs"]] == ["squares"]


def test_boxes_that_are_not_packed_are_built_without_downloads(detector_kernel, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        "podium.workflows.kernel_detector.build_dataset",
        lambda detector, *_, **__: fetched.append(detector.settings.source.fetch),
    )
    source = {"kind": "openimages", "fetch": {}, "urls": ["a.tsv"]}
    settings = detector(source=source, classes=["Boat"], data_at_kaggle="kaggle-dataset:ada/squares")
    build_from_inputs(Detector("squares", settings), RunOptions(), QUIET)
    assert settings.source.fetch is not None
    assert fetched == [None]


# Pretrained weights


@pytest.fixture
def no_internet(monkeypatch):
    """Building a backbone with pretrained weights gives random ones."""
    built = []

    def build(settings, image_size):
        built.append(settings.weights)
        return keras.applications.MobileNetV2(
            weights=None, include_top=False, alpha=0.35, input_shape=(image_size,) * 2 + (3,)
        )

    monkeypatch.setattr("podium.models.backbone.build_backbone", build)
    return built


def test_weights_job_saves_a_file_per_backbone_that_can_be_loaded(member_kernel, tiny_competition, no_internet):
    pretrained = {"name": "MobileNetV2", "weights": "imagenet", "alpha": 0.35}
    path = tiny_competition.member("pretrained", backbone=pretrained)
    (member_kernel.configs / path.name).write_text(path.read_text())
    report = member_kernel.run(kind="weights", config="pretrained.yaml", more_configs=("tiny.yaml",))
    assert report["weights"] == ["MobileNetV2-0.35-imagenet.weights.h5"]
    assert no_internet == ["imagenet"]
    again = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35, input_shape=(96, 96, 3))
    again.load_weights("MobileNetV2-0.35-imagenet.weights.h5")


def test_weights_job_saves_a_preset_as_a_folder(kernel, monkeypatch):
    config = "slug: boats\nsource: yolo\nbackbone: {preset: 'kaggle://keras/resnet/keras/resnet_50_imagenet/2'}\n"
    (kernel.configs / "boats.yaml").write_text(config)
    monkeypatch.setattr("podium.models.presets.place_of", lambda settings: str(save_resnet(Path("fetched"))))
    (name,) = kernel.run(kind="weights", config="boats.yaml")["weights"]
    assert (name, config_key(name)) == ("keras-resnet-keras-resnet_50_imagenet-2", "backbone.preset")
    assert {path.name for path in Path(name).iterdir()} >= {"config.json", "model.weights.h5", "image_converter.json"}
    assert config_key("ResNet50-imagenet.weights.h5") == "backbone.weights"


def test_backbone_of_a_detector_is_downloaded_like_a_members(tmp_path):
    (tmp_path / "boats.yaml").write_text("slug: boats\nsource: yolo\nbackbone: {name: ResNet50}\n")
    assert list(pretrained_files([load_detector(tmp_path / "boats.yaml")])) == ["ResNet50-imagenet.weights.h5"]


def test_configs_without_pretrained_weights_have_nothing_to_download(tiny_competition):
    with pytest.raises(ConfigError, match="there is nothing to download"):
        pretrained_files([load_member(tiny_competition.member())])
