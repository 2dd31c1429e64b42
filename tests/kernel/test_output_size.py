"""Kernels whose output would exceed what Kaggle keeps are refused before a push."""

import pytest

from podium.config.backbones import BACKBONES, MILLIONS_OF_PARAMETERS
from podium.config.loading import load_member
from podium.detection.loading import load_detector
from podium.errors import BundleError
from podium.kernel import output_size
from podium.kernel.job import Job
from podium.kernel.output_size import check_output_size


@pytest.fixture
def member_of(tiny_competition):
    """`member_of(backbone, changes)`: a member with this backbone and these keys of its stage."""

    def make(backbone, folds=2, **changes):
        stage = {"name": "all", "unfreeze": "all", "epochs": 1, "batch_size": 8, "image_size": 128}
        stage |= {"learning_rate": 0.1, **changes}
        competition = tiny_competition.change(folds={"kind": "stratified", "count": folds})
        return load_member(competition.member(backbone={"name": backbone, "weights": "none"}, stages=[stage]))

    return make


def test_output_within_the_limit_is_accepted(member_of):
    check_output_size(Job(kind="member"), [member_of("Xception", folds=5)])


def test_output_above_the_limit_is_refused_with_a_way_out(member_of):
    member = member_of("ConvNeXtXLarge", folds=5)
    message = (
        r"the runs of this kernel \(5\) may take 2\d\.\d GB, and Kaggle keeps at most 20 GB of output: push a kernel"
    )
    with pytest.raises(BundleError, match=message):
        check_output_size(Job(kind="member"), [member])
    check_output_size(Job(kind="member", folds=(0,)), [member])
    check_output_size(Job(kind="weights"), [member])


def test_averaged_weights_are_counted(member_of):
    member = member_of("ConvNeXtXLarge", ema=0.999)
    with pytest.raises(BundleError, match=r"\(1\) may take 2\d\.\d GB, .*: use a smaller backbone"):
        check_output_size(Job(kind="member", folds=(0,)), [member])


def test_detector_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(output_size, "MAX_GB", 1.5)  # enough for its backbone alone
    path = tmp_path / "boats.yaml"
    path.write_text("slug: boats\nsource: yolo\nbackbone: {preset: resnet_50_imagenet}\n")
    with pytest.raises(BundleError, match=r"may take 2\.1 GB"):
        check_output_size(Job(kind="detector"), [load_detector(path)])
    monkeypatch.setattr(output_size, "MAX_GB", 2.5)
    check_output_size(Job(kind="detector"), [load_detector(path)])


def test_every_backbone_has_its_size():
    assert MILLIONS_OF_PARAMETERS.keys() == BACKBONES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_sizes_are_those_of_the_models(name):
    from podium.config.backbone_settings import BackboneSettings
    from podium.models.backbone import build_backbone

    parameters = build_backbone(BackboneSettings(name=name, weights="none"), 128).count_params()
    assert MILLIONS_OF_PARAMETERS[name] == pytest.approx(parameters / 1e6, rel=0.02)
