"""kernel-metadata.json: in step with the script, and a person's changes kept."""

import json

import pytest

from podium.config.kaggle_names import KernelRef, slug_of
from podium.config.loading import load_member
from podium.detection.loading import load_detector
from podium.errors import BundleError, ConfigError
from podium.files import write_json
from podium.kernel.job import Job
from podium.kernel.metadata import Machine, check_metadata, kernel_metadata, merge_metadata, read_metadata

EXPLICIT = {
    "id", "title", "code_file", "language", "kernel_type", "is_private", "enable_gpu", "enable_tpu", "enable_internet",
    "machine_shape", "keywords", "dataset_sources", "competition_sources", "kernel_sources", "model_sources",
}  # fmt: skip


@pytest.fixture
def step(tiny_competition, tmp_path):
    """`step(job, owner, machine)` brings the metadata in tmp_path into step, and gives it."""
    members = [load_member(tiny_competition.member())]
    path, last = tmp_path / "kernel-metadata.json", tmp_path / "build" / "kernel-metadata.json"

    def bring(job, owner="ada", machine=T4):
        ours = kernel_metadata(job, members, owner, machine, "build/kernel.py")
        content = merge_metadata(path, ours, last)
        write_json(path, content)
        write_json(last, ours)
        return content

    bring.path = path
    return bring


T4 = Machine()
TINY = Job(kind="member", config="tiny.yaml", folds=(0,))
OTHER = Job(kind="member", config="other.yaml", folds=(1,))


def change(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_every_field_is_said(step):
    content = step(TINY)
    assert content.keys() == EXPLICIT
    assert content["enable_internet"] is False
    assert (content["id"], content["title"]) == ("ada/podium-tiny-fold0", "podium-tiny-fold0")
    assert content["competition_sources"] == ["tiny-squares"]
    assert read_metadata(step.path) == content


def test_what_a_person_changed_stays(step):
    step(TINY)
    change(step.path, is_private=False, dataset_sources=["ada/more-cars"], docker_image="an-image")
    content = step(TINY, machine=Machine("none"))
    assert (content["is_private"], content["docker_image"]) == (False, "an-image")
    assert content["dataset_sources"] == ["ada/more-cars"]
    assert (content["enable_gpu"], content["machine_shape"]) == (False, "")  # podium's own field, asked for anew


def test_source_that_a_person_removed_stays_away_and_podiums_own_change(step):
    step(TINY.model_copy(update={"resume_from": "ada/podium-tiny-fold0"}))
    change(step.path, competition_sources=[])
    content = step(TINY)
    assert content["competition_sources"] == []
    assert content["kernel_sources"] == []


def test_another_config_is_another_kernel(step):
    step(TINY)
    assert step(OTHER)["id"] == "ada/podium-other-fold1"


def test_name_that_a_person_gave_stays_with_its_kernel(step):
    step(TINY)
    change(step.path, id="ada/my-own-name", title="my-own-name")
    assert step(TINY)["id"] == "ada/my-own-name"


def test_owner_comes_from_the_file_where_no_key_tells_it(step):
    step.path.write_text(
        json.dumps({"id": "grace/some-kernel", "title": "some-kernel", "competition_sources": ["old"]})
    )
    content = step(TINY, owner="your-kaggle-name")
    assert content["id"] == "grace/podium-tiny-fold0"
    assert content["competition_sources"] == ["tiny-squares"]


def test_file_of_another_kernel_that_version_control_brought_back_adds_nothing(step):
    step(TINY)
    change(
        step.path, id="your-kaggle-name/podium-old", title="podium-old", competition_sources=["old"], is_private=False
    )
    content = step(TINY)
    assert (content["id"], content["competition_sources"]) == ("ada/podium-tiny-fold0", ["tiny-squares"])
    assert content["is_private"] is False


def test_kernel_of_weights_attaches_nothing_and_reaches_the_internet(step):
    content = step(Job(kind="weights"), machine=Machine("none", internet=True))
    assert content["competition_sources"] == []
    assert (content["enable_internet"], content["enable_gpu"]) == (True, False)


@pytest.mark.parametrize(
    ("place", "sources"),
    [
        ("kaggle-dataset:ada/boats", {"dataset_sources": ["ada/boats"]}),
        ("kaggle-kernel:ada/boats", {"kernel_sources": ["ada/boats"]}),
        ("kaggle-competition:boats", {"competition_sources": ["boats"]}),
    ],
)
def test_detectors_data_is_attached_with_its_weights(place, sources, tmp_path):
    path = tmp_path / "boats.yaml"
    backbone = "{name: ResNet50, weights: kaggle-dataset:grace/nets/ResNet50.h5}"
    path.write_text(f"slug: boats\nsource: yolo\ndata_at_kaggle: {place}\nbackbone: {backbone}\n")
    detector = load_detector(path)
    job = Job(kind="detector", config="boats.yaml")
    attached = {"dataset_sources": [], "kernel_sources": [], "competition_sources": []} | sources
    content = kernel_metadata(job.model_copy(update={"dry_run": True}), [detector], "ada", T4, "build/kernel.py")
    assert {key: content[key] for key in attached} == attached
    attached["dataset_sources"] = [*attached["dataset_sources"], "grace/nets"]
    content = kernel_metadata(job, [detector], "ada", T4, "build/kernel.py")
    assert {key: content[key] for key in attached} == attached
    assert content["id"] == "ada/podium-boats"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"title": "Another title"}, "does not end with the title's slug 'another-title'"),
        ({"enable_internet": "false"}, "enable_internet must be true or false"),
        ({"title": "abc", "id": "ada/abc"}, "must have 5 to 50 characters"),
        ({"dataset_sources": ["more-cars"]}, "dataset_sources: 'more-cars' is not owner/slug"),
        ({"competition_sources": ["ada/x"]}, "competition_sources: 'ada/x' is not a slug"),
        ({"model_sources": ["google/x"]}, "'google/x' is not owner/model/framework/variation/version"),
        ({"kernel_sources": "ada/x"}, "kernel_sources must be a list"),
    ],
)
def test_what_the_client_would_let_pass_is_refused(keys, told, step):
    content = step(TINY) | keys
    with pytest.raises(BundleError, match=told):
        check_metadata(content, step.path)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_broken_metadata_is_told_and_left_as_it_is(text, step):
    step.path.write_text(text)
    with pytest.raises(BundleError, match=r"kernel-metadata\.json (as JSON|is not a JSON object)"):
        step(TINY)
    assert step.path.read_text() == text


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("ada/some-kernel", KernelRef("ada", "some-kernel")),
        ("ada/some-kernel/3", KernelRef("ada", "some-kernel", 3)),
        ("ada/some-kernel/v3", KernelRef("ada", "some-kernel", 3)),
        ("https://www.kaggle.com/code/ada/some-kernel", KernelRef("ada", "some-kernel")),
    ],
)
def test_names_of_kernels(text, ref):
    assert KernelRef.parse(text) == ref


@pytest.mark.parametrize(
    "text", ["", "ada", "ada/", "ada/Some Kernel", "ada/x/0", "ada/x/y", "ada/x/1/2", "../x/1", "ada/x/-1"]
)
def test_what_names_no_kernel(text):
    with pytest.raises(ConfigError, match="expected owner/slug or owner/slug/version"):
        KernelRef.parse(text)


def test_slug_of_a_title():
    assert slug_of("Podium: Xception, fold 0!") == "podium-xception-fold-0"


def test_detectors_preset_is_attached(tmp_path):
    path = tmp_path / "boats.yaml"
    path.write_text("slug: boats\nsource: yolo\nbackbone: {preset: 'kaggle-kernel:grace/nets/resnet_50_imagenet'}\n")
    content = kernel_metadata(
        Job(kind="detector", config="boats.yaml"), [load_detector(path)], "ada", T4, "build/kernel.py"
    )
    assert content["kernel_sources"] == ["grace/nets"]
