"""The packed script: which files are in it, and what must not be."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from boxed_images import draw_set

from podium.config.loading import load_member
from podium.detection.dataset import write_dataset
from podium.errors import BundleError, ConfigError
from podium.kernel import bundle as bundling
from podium.kernel.building import KernelBuilder, folds_of, jobs_of_folds, make_job
from podium.kernel.bundle import make_bundle
from podium.kernel.job import Job
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT
from podium.kernel.script import read_about
from podium.kernel.secrets import check_for_secrets
from podium.runs import edited_folds, record_generated_folds

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
XCEPTION = CONFIGS / "members" / "xception.yaml"
EFFICIENTNET = CONFIGS / "members" / "effnet_b5_noisy_student.yaml"
OTHER_CONFIGS = [path for path in sorted(CONFIGS.glob("[me]*/*.yaml")) if path != EFFICIENTNET]
KEY = "0123456789abcdef" * 2


def packed_files(bundle):
    """The files of a script, as Python unpacks them, without running its job."""
    found = {}
    exec(compile(bundle.text.removesuffix("run()\n"), "kernel.py", "exec"), found)
    return found["FILES"]


def test_script_depends_on_the_configs_and_not_on_where_they_are(tiny_competition, tmp_path):
    copies = tmp_path / "another" / "place"
    copies.mkdir(parents=True)
    member = tiny_competition.member()
    for path in (member, tiny_competition.config):
        (copies / path.name).write_text(path.read_text())
    first, again, moved = (
        make_bundle([path], Job(kind="member", folds=(0,))).text for path in (member, member, copies / member.name)
    )
    assert first == again == moved


@pytest.mark.parametrize(
    "config",
    [EFFICIENTNET, *(pytest.param(path, marks=pytest.mark.slow) for path in OTHER_CONFIGS)],
    ids=lambda path: path.stem,
)
def test_script_of_every_config_is_readable_source_below_the_size_limit(config):
    bundle = make_bundle([config], make_job(config))
    assert bundle.text.isascii()
    assert len(bundle.text) < 900_000
    files = packed_files(bundle)
    for name, text in files.items():
        if name.startswith("podium/"):
            assert text == (ROOT / "src" / name).read_text()
    assert files[f"configs/{bundle.job.config}"] == config.read_text()


def test_docstring_names_config_fold_version_and_commit():
    bundle = make_bundle([XCEPTION], Job(kind="member", folds=(2,)))
    docstring = ast.get_docstring(ast.parse(bundle.text))
    for words in ("member xception fold 2", "podium 0.1.0", f"commit {bundle.commit}", bundle.config_digest):
        assert words in docstring


def test_efficientnet_is_packed_only_if_a_backbone_needs_it():
    needed, not_needed = (packed_files(make_bundle([path], Job(kind="member"))) for path in (EFFICIENTNET, XCEPTION))
    assert {"efficientnet/tfkeras.py", "keras_applications/imagenet_utils.py"} <= needed.keys()
    assert not any(name.startswith(("efficientnet", "keras_applications")) for name in not_needed)


def test_the_packed_part_of_keras_applications_has_what_efficientnet_imports(tmp_path):
    files = packed_files(make_bundle([EFFICIENTNET], Job(kind="member")))
    lines = [line for name in files if name.startswith("efficientnet/") for line in files[name].splitlines()]
    imports = [line for line in lines if line.startswith(("import keras_app", "from keras_app"))]
    (tmp_path / "keras_applications").mkdir()
    for name in ("__init__.py", "imagenet_utils.py"):
        (tmp_path / "keras_applications" / name).write_text(files[f"keras_applications/{name}"])
    code = "\n".join([*imports, "import keras_applications", "print(keras_applications.__file__)"])
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert len(imports) == 2
    assert ended.stdout == f"{tmp_path}/keras_applications/__init__.py\n"


OF_KEYS = {"podium.workflows.soup": {"soup": ["a-1a2b3c4d", "b-5e6f7a8b"]},
           "podium.workflows.more_rows": {"extra": [{"table": "more.csv", "images": "more/{id}.jpg"}]},
           "podium.training.tensorboard": {"tensorboard": True},
           "podium.models.preset_backbone": {"backbone": {"preset": "efficientnet_lite0_ra_imagenet"}}}  # fmt: skip
STACK_MODELS = "podium.ensemble.stack_models"
NEVER = {"podium.workflows.live_page", "podium.workflows.plots"}
"""Modules that no kernel has: pages and figures for people."""


@pytest.mark.parametrize("module", OF_KEYS)
def test_modules_of_rare_keys_are_packed_for_members_with_them(module, tiny_competition):
    file = f"{module.replace('.', '/')}.py"
    with_key, without = tiny_competition.member("one", **OF_KEYS[module]), tiny_competition.member("two")
    packed = [packed_files(make_bundle([path], Job(kind="member"))) for path in (with_key, without)]
    assert [file in files for files in packed] == [True, False]


def test_models_of_stacking_are_packed_for_ensembles_that_stack(tiny_competition):
    members = [tiny_competition.member("one"), tiny_competition.member("two")]
    for method in ("stacking", "mean"):
        bundle = make_bundle([tiny_competition.ensemble(members, blend=method)], Job(kind="ensemble"))
        assert ("podium/ensemble/stack_models.py" in packed_files(bundle)) == (method == "stacking")


def test_all_imports_of_packed_modules_are_packed():
    names = {name for name in packed_files(make_bundle([XCEPTION], Job(kind="member"))) if name.startswith("podium/")}
    for name in names:
        for module in bundling._imported((ROOT / "src" / name).read_text()):
            path = (
                None
                if module in {*OF_KEYS, *NEVER, STACK_MODELS, "podium.evaluation.metric_file"}
                else bundling._module_path(module)
            )
            assert path is None or path.relative_to(ROOT / "src").as_posix() in names
    assert {"podium/kernel_main.py", "podium/workflows/kernel_members.py"} <= names
    assert "podium/models/small_resnet.py" in names  # named in a table, not in an import


@pytest.fixture
def detector(tmp_path):
    """A detector file, with its set built in runs/."""
    write_dataset(draw_set(tmp_path / "data"), tmp_path / "runs" / "boxes" / "squares")
    path = tmp_path / "squares.yaml"
    path.write_text("slug: squares\nsource: yolo\ndata_at_kaggle: kaggle-dataset:ada/squares\n")
    return path


def bundle_of(detector):
    return KernelBuilder([detector], Machine(), detector.parent / "runs").assemble(make_job(detector)).bundle


def test_box_dataset_is_packed_with_the_detectors_modules_only(detector):
    files = packed_files(bundle_of(detector))
    for name in ("index.json", "images.csv", "boxes.csv"):
        assert files[f"boxes/squares/{name}"] == (detector.parent / "runs" / "boxes" / "squares" / name).read_text()
    assert {"podium/detection/model.py", "podium/workflows/detect.py"} <= files.keys()
    assert "podium/workflows/run.py" not in files
    member_files = packed_files(make_bundle([XCEPTION], Job(kind="member")))
    assert not {"podium/detection/model.py", "podium/detection/task.py"} & member_files.keys()


def test_box_dataset_with_rotated_images_is_not_packed(detector):
    dataset = draw_set(detector.parent / "data")
    dataset.images.loc[0, "rotated"] = True
    write_dataset(dataset, detector.parent / "runs" / "boxes" / "squares")
    assert "1 of its images were rotated" in bundle_of(detector).boxes.reason


def test_box_dataset_that_was_not_built_is_not_packed(detector):
    (detector.parent / "runs" / "boxes" / "squares" / "index.json").unlink()
    assert bundle_of(detector).boxes.reason.startswith("none was built in ")


def test_box_dataset_that_makes_the_script_too_large_is_not_packed(detector, monkeypatch):
    size = len(bundle_of(detector).text)
    monkeypatch.setattr(bundling, "MAX_BYTES", size - 1)
    bundle = bundle_of(detector)
    assert bundle.boxes.reason == f"the script would have {size:,} bytes, more than {size - 1:,}"
    assert not any(name.startswith("boxes/") for name in packed_files(bundle))


def test_image_names_that_look_like_keys_are_packed(detector):
    dataset = draw_set(detector.parent / "data")
    dataset.images.loc[0, "file"] = f"{KEY}.png"
    write_dataset(dataset, detector.parent / "runs" / "boxes" / "squares")
    assert KEY in packed_files(bundle_of(detector))["boxes/squares/images.csv"]


def test_script_names_the_data_it_needs(detector, tmp_path):
    script = tmp_path / "kernel.py"
    script.write_text(bundle_of(detector).text)
    about = read_about(script)
    assert (about["data_of"], about["data_at"]) == ("squares", "kaggle-dataset:ada/squares")
    script.write_text("print()")
    assert read_about(script) == {}


OWN_METRIC = "HIGHER_IS_BETTER = True\n\ndef score(truth, predictions):\n    return 1.0\n"


def test_own_metric_is_packed_next_to_its_competition(tiny_competition, tmp_path, monkeypatch):
    tiny = tiny_competition
    (tiny.config.parent / "mine.py").write_text(OWN_METRIC)
    tiny.change(metric="mine.py:score")
    member = tiny.member()
    files = packed_files(make_bundle([member], Job(kind="member")))
    assert files["configs/mine.py"] == OWN_METRIC
    (tmp_path / "mine.py").write_text(OWN_METRIC.replace("1.0", "0.5"))
    (tmp_path / "other.yaml").write_text(tiny.config.read_text())
    monkeypatch.chdir(tmp_path)
    files = packed_files(make_bundle([member], Job(kind="member", overrides=("competition=other.yaml",))))
    assert files["configs/set/mine.py"] == (tmp_path / "mine.py").read_text()
    assert {"podium/evaluation/metric_file.py", "podium/evaluation/metric_functions.py"} <= files.keys()


@pytest.mark.parametrize("more", [(), ("competition=other.yaml",)])
def test_own_metric_named_in_an_override_is_packed(more, tiny_competition, tmp_path, monkeypatch):
    folder = tmp_path if more else tiny_competition.config.parent
    (folder / "mine.py").write_text(OWN_METRIC)
    (tmp_path / "other.yaml").write_text(tiny_competition.config.read_text())
    monkeypatch.chdir(tmp_path)
    job = Job(kind="member", overrides=(*more, "competition.metric=mine.py:score"))
    files = packed_files(make_bundle([tiny_competition.member()], job))
    assert files["configs/set/mine.py" if more else "configs/mine.py"] == OWN_METRIC


@pytest.mark.parametrize("relative_to", ["the current folder", "the member file"])
def test_competition_file_named_in_an_override_is_packed(relative_to, tiny_competition, tmp_path, monkeypatch):
    cropped = tmp_path / "cropped" / "competition.yaml"
    cropped.parent.mkdir()
    cropped.write_text(tiny_competition.config.read_text().replace("slug: tiny-squares", "slug: tiny-squares-cropped"))
    (tmp_path / "elsewhere").mkdir()
    member = tiny_competition.member()
    is_relative_to_member = relative_to == "the member file"
    monkeypatch.chdir(tmp_path / "elsewhere" if is_relative_to_member else tmp_path)
    name = os.path.relpath(cropped, member.parent if is_relative_to_member else tmp_path)
    overrides = (f"competition={name}", "competition.data_at_kaggle=kaggle-dataset:ada/cropped-squares")
    builder = KernelBuilder([member], Machine(), tmp_path / "runs")
    built = builder.assemble(Job(kind="member", overrides=overrides))
    assert packed_files(built.bundle)["configs/set/competition.yaml"] == cropped.read_text()
    assert str(tmp_path) not in built.bundle.text
    assert built.metadata["dataset_sources"] == ["ada/cropped-squares"]
    assert built.metadata["competition_sources"] == []
    script = tmp_path / "kernel.py"
    script.write_text(built.bundle.text)
    assert read_about(script)["data_of"] == "tiny-squares-cropped"


def test_a_source_above_the_size_limit_is_compressed(monkeypatch):
    readable = make_bundle([XCEPTION], Job(kind="member"))
    monkeypatch.setattr(bundling, "MAX_BYTES", len(readable.text) - 1)
    compressed = make_bundle([XCEPTION], Job(kind="member"))
    assert (readable.is_compressed, compressed.is_compressed) == (False, True)
    assert packed_files(compressed) == packed_files(readable)


def test_script_above_the_size_limit_is_refused_with_its_largest_files(monkeypatch):
    monkeypatch.setattr(bundling, "MAX_BYTES", 100_000)
    with pytest.raises(BundleError, match=r"more than the limit of 100,000; its largest files: podium/\S+ \d\d,\d+"):
        make_bundle([XCEPTION], Job(kind="member"))


def test_weights_file_of_this_machine_is_refused(tiny_competition):
    member = tiny_competition.member(backbone={"name": "ResNet50", "weights": "some/file.weights.h5"})
    with pytest.raises(BundleError, match=r"tiny: the weights some/file\.weights\.h5 are a file on this machine"):
        make_bundle([member], Job(kind="member"))


@pytest.mark.parametrize("place", ["/cars/*.jpg", "../cars/*.jpg"])
def test_extra_rows_outside_the_data_are_refused(place, tiny_competition):
    member = tiny_competition.member(extra=[{"images": place, "label": 1}])
    with pytest.raises(
        BundleError, match=r"tiny: \S*/cars/\*\.jpg of its extra rows is outside the competition's data"
    ):
        make_bundle([member], Job(kind="member"))


@pytest.mark.parametrize(
    "secret",
    [
        f'{{"username":"ada","key":"{KEY}"}}',
        f"KAGGLE_KEY={KEY}",
        KEY,
        "KGAT_" + "0123456789abcdef" * 2,
        "-----BEGIN RSA PRIVATE " + "KEY-----",
        KEY.upper(),
        "gh" + "p_0123456789abcdefghijABCDEFGHIJ012345",
        "hf" + "_abcdefghijABCDEFGHIJabcdefghijABCD",
        "AKI" + "A0123456789ABCDEF",
        "s" + "k-proj-0123456789abcdefghij",
        "WANDB_API_" + "KEY=0123456789abcdef0123456789abcdef01234567",
        "AIz" + "a0123456789abcdefghijABCDEFGHIJ01234",
        "xox" + "b-0123456789-abcdefghij",
        "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl",
        "https://ada:" + "lovelace@example.org/data",
        "pass" + "word: lovelace",
    ],
)
def test_text_that_looks_like_a_key_is_refused_with_its_location(secret):
    with pytest.raises(BundleError, match=r"configs/a\.yaml, line 3: a key, token or password, or text that") as raised:
        check_for_secrets({"configs/a.yaml": f"seed: 1\n# a comment\n# {secret}\n"}, ["configs/a.yaml"])
    assert KEY not in str(raised.value)


def test_key_of_the_user_is_refused_in_any_form(monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "not-of-the-usual-form")
    with pytest.raises(BundleError, match="a key, token or password"):
        check_for_secrets({"a.py": "# not-of-the-usual-form"}, [])


def test_keys_in_configs_and_overrides_are_refused_when_building(tiny_competition):
    member = tiny_competition.member()
    with pytest.raises(BundleError, match=r"--set, line 2"):
        make_bundle([member], Job(kind="member", overrides=("seed=1", f"competition.title={KEY}")))
    member.write_text(f"{member.read_text()}# {KEY}\n")
    with pytest.raises(BundleError, match=r"configs/tiny\.yaml, line \d+"):
        make_bundle([member], Job(kind="member"))


def test_config_named_like_a_key_file_is_refused(tiny_competition):
    member = tiny_competition.member(name="kaggle").rename(tiny_competition.config.parent / "kaggle.json")
    with pytest.raises(BundleError, match="has the name of a key file"):
        make_bundle([member], Job(kind="member"))


def test_exception_in_the_job_fails_the_script(tiny_competition, tmp_path):
    text = make_bundle([tiny_competition.member()], Job(kind="member")).text
    script = tmp_path / "kernel.py"
    broken = text.replace("def run_job(", "def run_job(*a): raise ValueError('inside')\ndef unused(")
    script.write_text(f"{broken}\nprint('later')\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: inside" in done.stderr
    assert "later" not in done.stdout
    assert not (tmp_path / REPORT).exists()


def test_folds_that_the_user_changed_are_packed(tiny_competition, tmp_path):
    table = tmp_path / "runs" / "folds" / "tiny-squares-stratified-1.csv"
    table.parent.mkdir(parents=True)
    table.write_text("id,label,fold\n0000.jpg,0,0\n")
    record_generated_folds(table)
    assert edited_folds(tmp_path / "runs", "tiny-squares") == {}
    table.write_text("id,label,fold\n0000.jpg,0,1\n")
    changed = edited_folds(tmp_path / "runs", "tiny-squares")
    bundle = make_bundle([tiny_competition.member()], Job(kind="member"), changed)
    assert packed_files(bundle)["folds/tiny-squares-stratified-1.csv"].endswith("0000.jpg,0,1\n")


def test_each_fold_has_its_own_title_even_if_the_names_are_too_long():
    short = Job(kind="ensemble", config="ensembles/sf_dl_cars.yaml", members=("xception",), folds=(0,))
    assert short.title == "podium-sf-dl-cars-xception-fold0"
    long = [short.model_copy(update={"members": ("m" * 60,), "folds": (fold,)}).title for fold in range(5)]
    assert len(set(long)) == 5
    assert all(len(title) <= 50 for title in long)


def test_each_member_and_fold_has_its_own_job():
    jobs = jobs_of_folds(CONFIGS / "ensembles" / "demo.yaml", Job(kind="ensemble"))
    assert [(job.members, job.folds) for job in jobs] == [
        (("demo_wide",), (0,)), (("demo_wide",), (1,)), (("demo_narrow",), (0,)), (("demo_narrow",), (1,)),
    ]  # fmt: skip


def test_fold_that_does_not_exist_is_refused_when_building(tmp_path):
    config = CONFIGS / "ensembles" / "demo.yaml"
    with pytest.raises(ConfigError, match="demo_wide: there is no fold 7; the competition file defines folds 0 to 1"):
        KernelBuilder([config], Machine(), tmp_path).assemble(make_job(config, folds=(7,)))


def test_folds_defined_in_a_table_must_be_named(tiny_competition):
    competition = tiny_competition.change(folds={"kind": "table", "path": "folds.csv"})
    with pytest.raises(ConfigError, match="name them with --fold"):
        folds_of(load_member(competition.member()))
    assert folds_of(load_member(competition.member(folds=[1]))) == [1]
