"""What the script does in the kernel: goes on from the version before, tells a stop from a failure, keeps weights."""

import json
import stat
from pathlib import Path

import keras
import pytest
from rich.console import Console
from tiny_presets import save_resnet

from podium.config.loading import load_member
from podium.detection.loading import load_detector
from podium.errors import ConfigError, DataError, StoppedError
from podium.kernel.job import Job
from podium.kernel.pretrained import keep_weights, key_of, wanted_weights
from podium.kernel.report import REPORT
from podium.kernel.session import OVERRIDING, take_up
from podium.kernel_main import run_job

GOING_ON = Job(kind="member", goes_on_from="ada/podium-tiny")
ABOUT = {"title": "member tiny", "podium": "0.1.0", "commit": "c", "config_digest": "12345678"}
STOPPED = ABOUT | {"status": "stopped"}


@pytest.fixture
def kernel(tmp_path, monkeypatch, tiny_competition):
    """An unpacked script in a kernel's folders; `kernel.job` trains the tiny member there."""
    unpacked, working, mounted = (tmp_path / name for name in ("unpacked", "working", "input"))
    for folder in (unpacked / "configs", working, mounted / "competitions"):
        folder.mkdir(parents=True)
    for path in (tiny_competition.member(), tiny_competition.config):
        (unpacked / "configs" / path.name).write_text(path.read_text())
    (mounted / "competitions" / "tiny-squares").symlink_to(tiny_competition.folder)
    monkeypatch.setenv("PODIUM_KAGGLE_INPUT", str(mounted))
    monkeypatch.chdir(working)

    def run(**wishes):
        job = Job(kind="member", config="tiny.yaml", **wishes)
        run_job(job.model_dump(mode="json"), ABOUT, unpacked)
        return json.loads(Path(REPORT).read_text())

    run.unpacked, run.mounted, run.console = unpacked, mounted, Console(quiet=True)
    return run


def test_stop_for_lack_of_time_is_no_failure(kernel):
    report = kernel(folds=(0,), time_limit=0.001)
    assert report["status"] == "stopped"
    assert report["why"].startswith("--time-limit 0s: stopped before the first step")
    assert report["runs"][0]["predictions"] is None


def test_competition_file_that_was_named_here_is_found_there_and_its_data_in_a_dataset(kernel, tiny_competition):
    cut = kernel.unpacked / "configs" / "set" / "competition.yaml"
    cut.parent.mkdir()
    cut.write_text(tiny_competition.config.read_text().replace("slug: tiny-squares", "slug: cut-squares"))
    place = kernel.mounted / "datasets" / "ada" / "cut"
    place.parent.mkdir(parents=True)
    place.symlink_to(tiny_competition.folder)
    overrides = ("competition=data/cut/competition.yaml", "competition.data_at_kaggle=kaggle-dataset:ada/cut")
    report = kernel(overrides=overrides, competition="set/competition.yaml", folds=(0,), time_limit=0.001)
    assert report["status"] == "stopped"
    assert [path.name.startswith("cut-squares-") for path in Path("runs/folds").glob("*.csv")] == [True]


def test_rehearsal_makes_the_job_smaller(kernel, monkeypatch):
    monkeypatch.setenv(OVERRIDING, json.dumps({"folds": [1], "time_limit": 0.001}))
    assert [one["fold"] for one in kernel(folds=(0,))["runs"]] == [1]


def test_problem_in_the_config_fails_the_kernel_before_anything_is_read(kernel):
    path = kernel.unpacked / "configs" / "tiny.yaml"
    path.write_text(path.read_text() + "augmentation: [NoSuchTransform]\n")
    with pytest.raises(ConfigError, match="NoSuchTransform"):
        kernel()
    assert not Path(REPORT).exists()


@pytest.mark.parametrize("place", ["notebooks/ada/podium-tiny", "podium-tiny"])
def test_version_before_is_taken_up_in_either_layout_though_it_is_read_only(place, kernel):
    before = kernel.mounted / place / "runs" / "tiny-1" / "fold0"
    before.mkdir(parents=True)
    (before / "state.json").write_text("{}")
    (before / "state.json").chmod(stat.S_IRUSR)
    (kernel.mounted / place / REPORT).write_text(json.dumps(STOPPED))
    take_up(GOING_ON, ABOUT, kernel.unpacked, Path("runs"), kernel.console)
    copy = Path("runs/tiny-1/fold0/state.json")
    assert copy.read_text() == "{}"
    assert copy.stat().st_mode & stat.S_IWUSR


def test_output_of_another_config_is_not_gone_on_from(kernel):
    place = kernel.mounted / "podium-tiny"
    (place / "runs").mkdir(parents=True)
    (place / REPORT).write_text(json.dumps(STOPPED | {"config_digest": "87654321", "config": "other.yaml"}))
    with pytest.raises(DataError, match=r"left of another config \(other.yaml\)"):
        take_up(GOING_ON, ABOUT, kernel.unpacked, Path("runs"), kernel.console)


def test_version_before_that_is_not_mounted_fails_the_kernel(kernel):
    with pytest.raises(DataError, match="the output of ada/podium-tiny, to go on from, is not mounted"):
        kernel(goes_on_from="ada/podium-tiny")


def test_changed_folds_are_put_where_they_are_looked_for(kernel):
    (kernel.unpacked / "folds").mkdir()
    (kernel.unpacked / "folds" / "tiny-squares-x.csv").write_text("id,fold\n")
    take_up(Job(kind="member"), ABOUT, kernel.unpacked, Path("runs"), kernel.console)
    assert Path("runs/folds/tiny-squares-x.csv").read_text() == "id,fold\n"


def test_set_of_boxes_travels_and_that_of_the_version_before_comes_first(kernel):
    for folder, text in ((kernel.unpacked, "new"), (kernel.mounted / "podium-tiny" / "runs", "old")):
        (folder / "boxes" / "squares").mkdir(parents=True)
        (folder / "boxes" / "squares" / "index.json").write_text(text)
    (kernel.mounted / "podium-tiny" / REPORT).write_text(json.dumps(STOPPED))
    index = Path("runs/boxes/squares/index.json")
    for job, text in ((Job(kind="detector"), "new"), (GOING_ON, "old")):
        take_up(job, ABOUT, kernel.unpacked, Path("runs"), kernel.console)
        assert index.read_text() == text


def test_stop_while_predicting_is_told_as_a_stop(kernel, monkeypatch):
    def stop(runs, console):
        raise StoppedError("trained; predicting it takes too long")

    monkeypatch.setattr("podium.workflows.ensembles.train_and_predict", stop)
    assert kernel(folds=(0,))["why"] == "trained; predicting it takes too long"


@pytest.fixture
def no_internet(monkeypatch):
    """Building with pretrained weights gives random ones here."""
    built = []

    def build(settings, image_size):
        built.append(settings.weights)
        return keras.applications.MobileNetV2(
            weights=None, include_top=False, alpha=0.35, input_shape=(image_size,) * 2 + (3,)
        )

    monkeypatch.setattr("podium.models.backbone.build_backbone", build)
    return built


def test_weights_kernel_keeps_a_file_for_each_backbone_that_loads_again(kernel, tiny_competition, no_internet):
    pretrained = {"name": "MobileNetV2", "weights": "imagenet", "alpha": 0.35}
    path = tiny_competition.member("pretrained", backbone=pretrained)
    (kernel.unpacked / "configs" / path.name).write_text(path.read_text())
    job = Job(kind="weights", config="pretrained.yaml", also=("tiny.yaml",))
    assert keep_weights(job, kernel.unpacked / "configs", kernel.console) == ["MobileNetV2-0.35-imagenet.weights.h5"]
    assert no_internet == ["imagenet"]
    again = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35, input_shape=(96, 96, 3))
    again.load_weights("MobileNetV2-0.35-imagenet.weights.h5")


def test_detectors_backbone_is_fetched_like_a_members(tmp_path):
    (tmp_path / "boats.yaml").write_text("slug: boats\nsource: yolo\nbackbone: {name: ResNet50}\n")
    assert list(wanted_weights([load_detector(tmp_path / "boats.yaml")])) == ["ResNet50-imagenet.weights.h5"]


def test_configs_that_want_no_weights_have_nothing_to_fetch(tiny_competition):
    with pytest.raises(ConfigError, match="there is nothing to fetch"):
        wanted_weights([load_member(tiny_competition.member())])


def test_preset_is_kept_as_a_folder_that_a_detector_takes(kernel, monkeypatch):
    config = "slug: boats\nsource: yolo\nbackbone: {preset: 'kaggle://keras/resnet/keras/resnet_50_imagenet/2'}\n"
    (kernel.unpacked / "configs" / "boats.yaml").write_text(config)
    monkeypatch.setattr("podium.detection.presets.place_of", lambda settings: str(save_resnet(Path("fetched"))))
    (name,) = keep_weights(Job(kind="weights", config="boats.yaml"), kernel.unpacked / "configs", kernel.console)
    assert (name, key_of(name)) == ("keras-resnet-keras-resnet_50_imagenet-2", "backbone.preset")
    assert {path.name for path in Path(name).iterdir()} >= {"config.json", "model.weights.h5", "image_converter.json"}
    assert key_of("ResNet50-imagenet.weights.h5") == "backbone.weights"
