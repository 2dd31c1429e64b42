"""The packed script: its bytes, what is in it, and what must not be."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from boxed_images import draw_set

from podium.config.loading import load_member
from podium.detection.dataset import write_dataset
from podium.errors import BundleError, ConfigError
from podium.kernel import bundle as bundling
from podium.kernel.building import assemble, folds_of, jobs_of_folds, whole_job
from podium.kernel.bundle import about_of, make_bundle
from podium.kernel.job import Job
from podium.kernel.metadata import Machine
from podium.kernel.report import REPORT
from podium.runs import record_generated_folds

CONFIGS = Path(__file__).parents[2] / "configs"
XCEPTION = CONFIGS / "members" / "xception.yaml"
EFFICIENTNET = CONFIGS / "members" / "effnet_b5_noisy_student.yaml"
A_KEY = "0123456789abcdef" * 2


def packed(bundle):
    """The files of a script, as Python reads them."""
    found = {}
    for node in ast.parse(bundle.text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            found[node.targets[0].slice.value] = node.value.value
    return found


def test_same_inputs_give_the_same_bytes_wherever_the_configs_lie(tiny_competition, tmp_path):
    elsewhere = tmp_path / "another" / "place"
    elsewhere.mkdir(parents=True)
    member = tiny_competition.member()
    for path in (member, tiny_competition.config):
        (elsewhere / path.name).write_text(path.read_text())
    bundles = [
        make_bundle([path], Job(kind="member", folds=(0,))) for path in (member, member, elsewhere / member.name)
    ]
    assert bundles[0].text == bundles[1].text == bundles[2].text


@pytest.mark.parametrize(
    "config",
    sorted(CONFIGS.glob("members/*.yaml")) + sorted(CONFIGS.glob("ensembles/*.yaml")),
    ids=lambda path: path.stem,
)
def test_every_config_makes_a_readable_ascii_script_of_the_size_that_kaggle_takes(config):
    bundle = make_bundle([config], whole_job(config))
    assert bundle.text.isascii()
    assert len(bundle.text) < 900_000
    ast.parse(bundle.text)
    files = packed(bundle)
    for name, text in files.items():
        if name.startswith("podium/"):
            assert text == (CONFIGS.parent / "src" / name).read_text()
    assert files[f"configs/{bundle.job.config}"] == config.read_text()


def test_head_says_config_fold_version_and_commit():
    bundle = make_bundle([XCEPTION], Job(kind="member", folds=(2,)))
    head = ast.get_docstring(ast.parse(bundle.text))
    for word in (
        "member xception fold 2",
        "podium 0.1.0",
        f"commit {bundle.commit}",
        "members/xception.yaml",
        bundle.config_digest,
    ):
        assert word in head


def test_packages_that_the_image_lacks_travel_only_where_they_are_used():
    with_it, without = (packed(make_bundle([path], Job(kind="member"))) for path in (EFFICIENTNET, XCEPTION))
    assert {"efficientnet/tfkeras.py", "keras_applications/imagenet_utils.py"} <= with_it.keys()
    assert not any(name.startswith(("efficientnet", "keras_applications")) for name in without)


def test_every_module_that_a_packed_module_imports_is_packed():
    names = {name for name in packed(make_bundle([XCEPTION], Job(kind="member"))) if name.startswith("podium/")}
    for name in names:
        for imported in bundling._imported((CONFIGS.parent / "src" / name).read_text()):
            path = bundling._module_path(imported)
            assert path is None or path.relative_to(CONFIGS.parent / "src").as_posix() in names
    assert "podium/models/small_resnet.py" in names  # named in a table, not in an import


def test_every_text_survives_its_notation():
    texts = [
        "",
        "plain\n",
        "'''",
        '"""',
        "both ''' and \"\"\"",
        "ends with '",
        'ends with "',
        "ends with \\",
        "é → 😀\n",
        "\\n \\u0041 \r\n",
        "'",
        "''''",
    ]
    for text in texts:
        assert ast.literal_eval(bundling._literal(text)) == text


@pytest.fixture
def detector(tmp_path):
    """A detector file, and the set that was built for it in runs/."""
    write_dataset(draw_set(tmp_path / "data"), tmp_path / "runs" / "boxes" / "squares")
    path = tmp_path / "squares.yaml"
    path.write_text("slug: squares\nsource: yolo\ndata_at_kaggle: kaggle-dataset:ada/squares\n")
    return path


def bundle_of(detector):
    return assemble([detector], whole_job(detector), Machine(), detector.parent / "runs").bundle


def test_a_detectors_set_travels_and_no_more_of_the_source_than_it_needs(detector):
    bundle = bundle_of(detector)
    files = packed(bundle)
    for name in ("index.json", "images.csv", "boxes.csv"):
        assert files[f"boxes/squares/{name}"] == (detector.parent / "runs" / "boxes" / "squares" / name).read_text()
    assert "podium/detection/model.py" in files
    assert not {"podium/workflows/detect_build.py", "podium/workflows/ensembles.py"} & files.keys()
    assert "detector squares" in ast.get_docstring(ast.parse(bundle.text))
    members = packed(make_bundle([XCEPTION], Job(kind="member")))
    assert not {"podium/detection/model.py", "podium/detection/task.py"} & members.keys()


def turned(folder):
    boxset = draw_set(folder / "data")
    boxset.images.loc[0, "turned"] = True
    write_dataset(boxset, folder / "runs" / "boxes" / "squares")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: shutil.rmtree(folder / "runs"), "none was built in"),
        (turned, "1 of its images were turned"),
        (
            lambda folder: write_dataset(draw_set(folder / "data", 9_000, size=60), folder / "runs/boxes/squares"),
            "more than 900,000",
        ),
    ],
    ids=["not built", "turned", "too large"],
)
def test_a_set_that_cannot_travel_is_built_there(change, why, detector, monkeypatch):
    monkeypatch.setattr("cv2.imwrite", lambda *_: True)
    change(detector.parent)
    bundle = bundle_of(detector)
    assert why in bundle.boxes.why_not
    assert len(bundle.text) < 900_000
    assert "podium/workflows/detect_build.py" in packed(bundle)


def test_names_of_images_are_no_keys(detector):
    boxset = draw_set(detector.parent / "data")
    boxset.images.loc[0, "file"] = f"{A_KEY}.png"
    write_dataset(boxset, detector.parent / "runs" / "boxes" / "squares")
    assert A_KEY in packed(bundle_of(detector))["boxes/squares/images.csv"]


def test_a_script_says_whose_data_it_takes(detector, tmp_path):
    script = tmp_path / "kernel.py"
    script.write_text(bundle_of(detector).text)
    about = about_of(script)
    assert (about["data_of"], about["data_at"]) == ("squares", "kaggle-dataset:ada/squares")
    script.write_text("print()")
    assert about_of(script) == {}


@pytest.mark.parametrize("seen_from", ["here", "the member file"])
def test_a_competition_file_of_another_place_travels_with_its_data(seen_from, tiny_competition, tmp_path, monkeypatch):
    cut = tmp_path / "cut" / "competition.yaml"
    cut.parent.mkdir()
    cut.write_text(tiny_competition.config.read_text().replace("slug: tiny-squares", "slug: tiny-squares-cropped"))
    (tmp_path / "another" / "place").mkdir(parents=True)
    monkeypatch.chdir(tmp_path if seen_from == "here" else tmp_path / "another" / "place")
    member = tiny_competition.member()
    typed = os.path.relpath(cut, member.parent if seen_from == "the member file" else tmp_path)
    overrides = (f"competition={typed}", "competition.data_at_kaggle=kaggle-dataset:ada/cut-squares")
    assembled = assemble(
        [tiny_competition.member()], Job(kind="member", overrides=overrides), Machine(), tmp_path / "runs"
    )
    bundle = assembled.bundle
    assert packed(bundle)["configs/set/competition.yaml"] == cut.read_text()
    assert str(tmp_path) not in bundle.text
    assert assembled.metadata["dataset_sources"] == ["ada/cut-squares"]
    assert assembled.metadata["competition_sources"] == []
    script = tmp_path / "kernel.py"
    script.write_text(bundle.text)
    about = about_of(script)
    assert (about["data_of"], about["data_at"]) == ("tiny-squares-cropped", "kaggle-dataset:ada/cut-squares")


def test_too_large_a_script_is_refused_with_its_largest_parts(monkeypatch):
    monkeypatch.setattr(bundling, "LARGEST", 100_000)
    with pytest.raises(
        BundleError, match=r"bytes, [\d,]+ more than the 100,000 that may be; its largest parts: podium/\S+ 1\d,\d+"
    ):
        make_bundle([XCEPTION], Job(kind="member"))


def test_weights_of_this_machine_cannot_travel(tiny_competition):
    member = tiny_competition.member(backbone={"name": "ResNet50", "weights": "some/file.weights.h5"})
    with pytest.raises(BundleError, match=r"tiny: the weights some/file\.weights\.h5 lie on this machine"):
        make_bundle([member], Job(kind="member"))


@pytest.mark.parametrize(
    "secret",
    [
        f'# {{"username":"ada","key":"{A_KEY}"}}',
        f"# KAGGLE_KEY={A_KEY}",
        f"# {A_KEY}",
        "# KGAT_" + "0123456789abcdef" * 2,
        "# -----BEGIN RSA PRIVATE " + "KEY-----",
    ],
    ids=["kaggle.json", "variable", "bare", "token", "private key"],
)
def test_text_in_the_form_of_a_key_ends_the_build_with_its_place(secret, tiny_competition):
    member = tiny_competition.member()
    member.write_text(f"{member.read_text()}# a remark\n{secret}\n")
    line = member.read_text().splitlines().index(secret) + 1
    with pytest.raises(BundleError, match=rf"configs/tiny.yaml, line {line}: text in the form of a Kaggle key") as told:
        make_bundle([member], Job(kind="member"))
    assert A_KEY not in str(told.value)


def test_key_in_an_override_ends_the_build(tiny_competition):
    member = tiny_competition.member()
    with pytest.raises(BundleError, match=r"--set, line 2"):
        make_bundle([member], Job(kind="member", overrides=("seed=1", f"competition.title={A_KEY}")))


def test_own_key_is_found_whatever_its_form(tiny_competition, monkeypatch):
    monkeypatch.setenv("KAGGLE_KEY", "not-of-the-usual-form")
    member = tiny_competition.member()
    member.write_text(f"{member.read_text()}# not-of-the-usual-form\n")
    with pytest.raises(BundleError, match="or your own"):
        make_bundle([member], Job(kind="member"))


def test_config_with_the_name_of_a_key_file_is_refused(tiny_competition):
    member = tiny_competition.member(name="kaggle").rename(tiny_competition.config.parent / "kaggle.json")
    with pytest.raises(BundleError, match="has the name of a file of keys"):
        make_bundle([member], Job(kind="member"))


def test_exception_inside_fails_the_script_and_nothing_later_runs(tiny_competition, tmp_path):
    member = tiny_competition.member()
    bundle = make_bundle([member], Job(kind="member"))
    script = tmp_path / "kernel.py"
    broken = bundle.text.replace("def run_job(", "def run_job(*a): raise ValueError('inside')\ndef unused(")
    script.write_text(f"{broken}\nprint('later')\n")
    ended = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "ValueError: inside" in ended.stderr
    assert "later" not in ended.stdout
    assert not (tmp_path / REPORT).exists()


def test_folds_that_a_person_changed_travel(tiny_competition, tmp_path):
    from podium.runs import edited_folds

    table = tmp_path / "runs" / "folds" / "tiny-squares-stratified-1.csv"
    table.parent.mkdir(parents=True)
    table.write_text("id,label,fold\n0000.jpg,0,0\n")
    record_generated_folds(table)
    assert edited_folds(tmp_path / "runs", "tiny-squares") == {}
    table.write_text("id,label,fold\n0000.jpg,0,1\n")
    changed = edited_folds(tmp_path / "runs", "tiny-squares")
    bundle = make_bundle([tiny_competition.member()], Job(kind="member"), changed)
    assert packed(bundle)["folds/tiny-squares-stratified-1.csv"].endswith("0000.jpg,0,1\n")


def test_title_is_a_slug_of_its_own_for_every_fold_however_long_the_names():
    short = Job(kind="ensemble", config="ensembles/sf_dl_cars.yaml", members=("xception",), folds=(0,))
    assert short.title == "podium-sf-dl-cars-xception-fold0"
    long = [short.model_copy(update={"members": ("m" * 60,), "folds": (fold,)}).title for fold in range(5)]
    assert len(set(long)) == 5
    assert all(len(title) <= 50 for title in long)


def test_a_job_for_every_member_and_fold():
    jobs = jobs_of_folds(CONFIGS / "ensembles" / "demo.yaml", Job(kind="ensemble"))
    assert [(job.members, job.folds) for job in jobs] == [
        (("demo_wide",), (0,)), (("demo_wide",), (1,)), (("demo_narrow",), (0,)), (("demo_narrow",), (1,)),
    ]  # fmt: skip


def test_fold_that_cannot_be_is_told_before_a_session_is_spent(tmp_path):
    config = CONFIGS / "ensembles" / "demo.yaml"
    with pytest.raises(ConfigError, match="demo_wide: there is no fold 7; the competition file makes folds 0 to 1"):
        assemble([config], whole_job(config, folds=(7,)), Machine(), tmp_path)


def test_folds_of_a_table_must_be_named(tiny_competition):
    competition = tiny_competition.change(folds={"kind": "table", "path": "folds.csv"})
    with pytest.raises(Exception, match="say which with --fold"):
        folds_of(load_member(competition.member()))
    assert folds_of(load_member(competition.member(folds=[1]))) == [1]
