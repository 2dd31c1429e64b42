"""kernel-metadata.json is generated for the script, and changes by the user are kept."""

import json

import keras_hub
import pytest

from podium.config.kaggle_names import KernelRef, slug_of
from podium.config.loading import load_member
from podium.detection.loading import load_detector
from podium.errors import BundleError, ConfigError
from podium.files import write_json
from podium.kernel.job import Job
from podium.kernel.metadata import Machine, check_metadata, kernel_metadata, merge_metadata, read_metadata
from podium.kernel.pretrained import downloaded

EXPLICIT = {
    "id", "title", "code_file", "language", "kernel_type", "is_private", "enable_gpu", "enable_tpu", "enable_internet",
    "machine_shape", "keywords", "dataset_sources", "competition_sources", "kernel_sources", "model_sources",
}  # fmt: skip


@pytest.fixture
def update(tiny_competition, tmp_path):
    """`update(job, owner, machine)` updates the metadata in tmp_path and returns it."""
    members = [load_member(tiny_competition.member())]
    path, last = tmp_path / "kernel-metadata.json", tmp_path / "build" / "kernel-metadata.json"

    def write(job, owner="ada", machine=T4):
        ours = kernel_metadata(job, members, owner, machine, "build/kernel.py")
        content = merge_metadata(path, ours, last)
        write_json(path, content)
        write_json(last, ours)
        return content

    write.path = path
    return write


T4 = Machine()
VERSION = keras_hub.models.Backbone.presets["resnet_50_imagenet"]["kaggle_handle"].rpartition("/")[2]
TINY = Job(kind="member", config="tiny.yaml", folds=(0,))
OTHER = Job(kind="member", config="other.yaml", folds=(1,))


def change(path, **keys):
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_every_field_is_explicit(update):
    content = update(TINY)
    assert content.keys() == EXPLICIT
    assert content["enable_internet"] is False
    assert (content["id"], content["title"]) == ("ada/podium-tiny-fold0", "podium-tiny-fold0")
    assert content["competition_sources"] == ["tiny-squares"]
    assert read_metadata(update.path) == content


def test_datasets_of_extra_rows_are_attached(tiny_competition):
    extra = {"table": "kaggle-dataset:ada/more/soft.csv", "images": "kaggle-dataset:ada/cars/{id}.jpg"}
    members = [load_member(tiny_competition.member(extra=[extra]))]
    content = kernel_metadata(TINY, members, "ada", T4, "build/kernel.py")
    assert content["dataset_sources"] == ["ada/more", "ada/cars"]


def test_changes_by_the_user_are_preserved(update):
    update(TINY)
    change(update.path, is_private=False, dataset_sources=["ada/more-cars"], docker_image="an-image")
    content = update(TINY, machine=Machine("none"))
    assert (content["is_private"], content["docker_image"]) == (False, "an-image")
    assert content["dataset_sources"] == ["ada/more-cars"]
    assert (content["enable_gpu"], content["machine_shape"]) == (False, "")  # changed by the new options


def test_source_removed_by_the_user_stays_removed(update):
    update(TINY.model_copy(update={"resume_from": "ada/podium-tiny-fold0"}))
    change(update.path, competition_sources=[])
    content = update(TINY)
    assert content["competition_sources"] == []
    assert content["kernel_sources"] == []


def test_another_config_gets_another_name(update):
    update(TINY)
    assert update(OTHER)["id"] == "ada/podium-other-fold1"


def test_name_given_by_the_user_is_kept_for_the_same_config(update):
    update(TINY)
    change(update.path, id="ada/my-own-name", title="my-own-name")
    assert update(TINY)["id"] == "ada/my-own-name"


def test_owner_is_taken_from_the_file_if_unknown(update):
    update.path.write_text(
        json.dumps({"id": "grace/some-kernel", "title": "some-kernel", "competition_sources": ["old"]})
    )
    content = update(TINY, owner="your-kaggle-name")
    assert content["id"] == "grace/podium-tiny-fold0"
    assert content["competition_sources"] == ["tiny-squares"]


def test_sources_of_a_file_restored_by_version_control_are_not_added(update):
    update(TINY)
    change(
        update.path, id="your-kaggle-name/podium-old", title="podium-old", competition_sources=["old"], is_private=False
    )
    content = update(TINY)
    assert (content["id"], content["competition_sources"]) == ("ada/podium-tiny-fold0", ["tiny-squares"])
    assert content["is_private"] is False


@pytest.mark.parametrize(("gpu", "shape"), [("l4", "NvidiaL4"), ("NvidiaRtxPro6000", "NvidiaRtxPro6000")])
def test_machine_is_named_as_kaggle_does(gpu, shape, update):
    content = update(TINY, machine=Machine(gpu))
    assert (content["enable_gpu"], content["enable_tpu"], content["machine_shape"]) == (True, False, shape)


def test_retired_machine_is_refused(update):
    with pytest.raises(ConfigError, match="Kaggle has retired NvidiaTeslaP100"):
        update(TINY, machine=Machine("p100"))


def test_weights_kernel_has_no_sources_and_internet(update):
    content = update(Job(kind="weights"), machine=Machine("none", internet=True))
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
def test_data_and_weights_of_a_detector_are_attached(place, sources, tmp_path):
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
    ("keys", "problem"),
    [
        ({"title": "Another title"}, "does not end with the title's slug 'another-title'"),
        ({"enable_internet": "false"}, "enable_internet must be true or false"),
        ({"title": "abc", "id": "ada/abc"}, "must have 5 to 50 characters"),
        ({"dataset_sources": ["more-cars"]}, "dataset_sources: 'more-cars' is not owner/slug"),
        ({"competition_sources": ["ada/x"]}, "competition_sources: 'ada/x' is not a slug"),
        ({"model_sources": ["google/x"]}, "'google/x' is not owner/model/framework/variation/version"),
        ({"model_sources": ["google/x/keras/small"]}, "'google/x/keras/small' is not owner/model/framework"),
        ({"model_sources": ["google/x/keras/small/v1"]}, "with a number as its version"),
        ({"machine_shape": "NvidiaTeslaP100"}, "Kaggle has retired NvidiaTeslaP100"),
        ({"enable_tpu": True, "machine_shape": ""}, "pushed kernels get no TPU"),
        ({"kernel_sources": "ada/x"}, "kernel_sources must be a list"),
    ],
)
def test_invalid_metadata_is_refused_though_the_client_accepts_it(keys, problem, update):
    content = update(TINY) | keys
    with pytest.raises(BundleError, match=problem):
        check_metadata(content, update.path)


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_unreadable_metadata_is_an_error_and_not_changed(text, update):
    update.path.write_text(text)
    with pytest.raises(BundleError, match=r"kernel-metadata\.json (as JSON|is not a JSON object)"):
        update(TINY)
    assert update.path.read_text() == text


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("ada/some-kernel", KernelRef("ada", "some-kernel")),
        ("ada/some-kernel/3", KernelRef("ada", "some-kernel", 3)),
        ("ada/some-kernel/v3", KernelRef("ada", "some-kernel", 3)),
        ("https://www.kaggle.com/code/ada/some-kernel", KernelRef("ada", "some-kernel")),
    ],
)
def test_kernel_names(text, ref):
    assert KernelRef.parse(text) == ref


@pytest.mark.parametrize(
    "text", ["", "ada", "ada/", "ada/Some Kernel", "ada/x/0", "ada/x/y", "ada/x/1/2", "../x/1", "ada/x/-1"]
)
def test_invalid_kernel_names(text):
    with pytest.raises(ConfigError, match="expected owner/slug or owner/slug/version"):
        KernelRef.parse(text)


def test_slug_of_a_title():
    assert slug_of("Podium: Xception, fold 0!") == "podium-xception-fold-0"


@pytest.mark.parametrize(
    ("preset", "kind", "name"),
    [
        ("kaggle-kernel:grace/nets/resnet_50_imagenet", "kernel_sources", "grace/nets"),
        ("kaggle-model:grace/nets/keras/small/2", "model_sources", "grace/nets/keras/small/2"),
        (
            "kaggle://keras/resnetv1/keras/resnet_50_imagenet/2",
            "model_sources",
            "keras/resnetv1/keras/resnet_50_imagenet/2",
        ),
        ("resnet_50_imagenet", "model_sources", f"keras/resnetv1/keras/resnet_50_imagenet/{VERSION}"),
    ],
)
def test_preset_of_a_detector_is_attached(preset, kind, name, tmp_path):
    path = tmp_path / "boats.yaml"
    path.write_text(f"slug: boats\nsource: yolo\nbackbone: {{preset: '{preset}'}}\n")
    content = kernel_metadata(
        Job(kind="detector", config="boats.yaml"), [load_detector(path)], "ada", T4, "build/kernel.py"
    )
    assert content[kind] == [name]
    check_metadata(content, path)


@pytest.mark.parametrize(
    ("preset", "kind"),
    [
        ("dinov3_vit_small_lvd1689m", "model_sources"),
        ("kaggle-dataset:grace/nets/vit", "dataset_sources"),
        ("hf://timm/vit", None),
    ],
)
def test_preset_of_a_member_is_attached(preset, kind, tiny_competition):
    member = load_member(tiny_competition.member(backbone={"preset": preset}))
    content = kernel_metadata(TINY, [member], "ada", T4, "build/kernel.py")
    assert [key for key in ("model_sources", "dataset_sources") if content[key]] == [kind] * (kind is not None)
    assert [found.name for found in downloaded([member])] == ["tiny"] * (kind is None)
    for name in content["model_sources"]:
        assert name.startswith("keras/dinov3/keras/dinov3_vit_small_lvd1689m/")


@pytest.mark.parametrize(
    ("preset", "message"),
    [("dinov3_small", "did you mean 'dinov"), ("bert_base_en", "expected a preset of CLIP, CSPNet")],
)
def test_unknown_preset_of_a_member_is_refused_when_a_kernel_is_built(preset, message, tiny_competition):
    member = load_member(tiny_competition.member(backbone={"preset": preset}))
    with pytest.raises(ConfigError, match=message):
        kernel_metadata(TINY, [member], "ada", T4, "build/kernel.py")
