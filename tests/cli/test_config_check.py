"""`podium config check`: all problems of config files and of the data that they describe."""

import shutil
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def check(podium_in, tmp_path):
    return lambda *arguments: podium_in(tmp_path, "config", "check", *arguments)


def test_valid_files_and_data_are_described(check, tiny_competition):
    member = tiny_competition.member()
    ensemble = tiny_competition.ensemble([member])
    ended = check(tiny_competition.config, member, ensemble, "--data", tiny_competition.folder)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"{tiny_competition.config}: valid",
        f"{member}: valid",
        f"{ensemble}: valid",
        f"{tiny_competition.folder}: 24 images to train on, 8 to predict, 4 classes",
    ]


def test_a_data_folder_that_is_a_file_is_a_problem(check, tiny_competition, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tiny-squares").touch()
    ended = check(tiny_competition.config)
    assert (ended.code, ended.out) == (1, f"{tiny_competition.config}: valid\n")
    assert ended.err.startswith("podium: no data for tiny-squares in data/tiny-squares, ")
    monkeypatch.setenv("PODIUM_DATA", "elsewhere")
    ended = check(tiny_competition.config)
    assert (ended.code, ended.out) == (1, f"{tiny_competition.config}: valid\n")
    assert ended.err.startswith("podium: PODIUM_DATA: elsewhere is not a folder; ")


@pytest.mark.parametrize("kind", ["competitions", "members", "ensembles", "detectors"])
def test_configs_of_the_project_are_valid_without_their_data(kind, check):
    files = sorted((CONFIGS / kind).glob("*.yaml"))
    ended = check(*files)
    assert (ended.code, ended.err) == (0, "")
    assert [line for line in ended.out.splitlines() if line.endswith(": valid")] == [f"{file}: valid" for file in files]
    assert ("data not checked: no data for" in ended.out) == (kind != "detectors")


def test_problems_of_all_files_and_of_the_data_are_reported_at_once(check, tiny_competition):
    folder = tiny_competition.folder
    for name, old, new in (("train.csv", "0000.jpg,0", "0000.jpg,7"), ("sample-submission.csv", "Category", "Label")):
        (folder / name).write_text((folder / name).read_text().replace(old, new))
    broken = tiny_competition.member("broken", resize="stretch", seed="one")
    ended = check(broken, tiny_competition.member(), "--data", folder)
    assert ended.code == 1
    assert ended.out == f"{broken.with_name('tiny.yaml')}: valid\n"
    for problem in (
        "broken.yaml:",
        "resize: ",
        "seed: ",
        f"{folder / 'train.csv'} has labels that are not classes of the competition file",
        "has the columns Id, Label; the competition file expects Id, Category",
    ):
        assert problem in ended.err


def test_a_class_without_rows_is_a_problem_unless_extra_rows_have_it(check, tiny_competition):
    tiny_competition.change(classes=["0", "1", "2", "3", "yellow", "white"])
    ended = check(tiny_competition.config, "--data", tiny_competition.folder)
    assert ended.code == 1
    assert ended.err == (
        "podium: classes without a training row: yellow, white; remove them from the classes of the competition file,"
        " or add images of them\n"
    )
    more = [
        {"label": label, "images": f"test_upload/002{number}.jpg"} for number, label in ((4, "yellow"), (5, "white"))
    ]
    ended = check(tiny_competition.member(extra=more), "--data", tiny_competition.folder)
    assert (ended.code, ended.err) == (0, "")


def test_missing_images_of_train_and_test_are_reported_together(check, tiny_competition):
    (tiny_competition.folder / "train/0/0000.jpg").unlink()
    shutil.rmtree(tiny_competition.folder / "test_upload")
    ended = check(tiny_competition.config, "--data", tiny_competition.folder)
    assert ended.code == 1
    assert len(ended.err.splitlines()) == 2
    assert "1 images listed in" in ended.err
    assert "no folder test_upload for the images" in ended.err


def test_data_without_a_sample_submission_can_be_trained_on(check, tiny_competition):
    sample = tiny_competition.folder / "sample-submission.csv"
    sample.rename(sample.with_name("all_ones.csv"))
    ended = check(tiny_competition.config, "--data", tiny_competition.folder)
    assert ended.code == 0
    assert "24 images to train on, 4 classes" in ended.out
    missing = "predicting needs sample_submission.csv (submission.sample), which does not exist"
    assert f"{missing}; other CSV files are all_ones.csv" in ended.out


def test_a_file_that_is_no_config_and_a_missing_data_folder_are_errors(check, tiny_competition, tmp_path):
    (tmp_path / "notes.yaml").write_text("colour: red\n")
    ended = check("notes.yaml", "nowhere.yaml", tiny_competition.config, "--data", "nowhere")
    assert ended.code == 1
    assert "notes.yaml" in ended.err
    assert "nowhere.yaml  no such file" in ended.err
    assert "--data: nowhere is not a folder" in ended.err
