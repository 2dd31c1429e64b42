"""`podium data check` on drawn competitions with planted faults."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from planted_faults import FAULTS, plant

from podium.config.loading import load_competition
from podium.data.folds import make_folds
from podium.data.table import read_rows
from podium.demo.competition import draw_competition
from podium.options import RunOptions
from podium.workflows.data_check import check_data

CONFIG = Path(__file__).parents[2] / "configs" / "competitions" / "podium-demo-cars.yaml"


def found_by(check, kind):
    """The ids of what was found, or the names of files without a row."""
    return {item.id or Path(item.file).name for item in check.findings.get(kind, [])}


@pytest.fixture
def photographs(make_tiny_competition, tmp_path):
    """48 images that differ: a tiny competition of random shapes."""
    competition = make_tiny_competition(tmp_path / "noise", train=48, test=8, size=64)
    random = np.random.default_rng(1)
    for path in sorted(competition.folder.rglob("*.jpg")):
        image = np.full((64, 80, 3), random.integers(60, 200, 3), np.uint8)
        for _ in range(12):
            left, top = random.integers(0, 70), random.integers(0, 54)
            end = (int(left + random.integers(6, 30)), int(top + random.integers(6, 30)))
            cv2.rectangle(image, (int(left), int(top)), end, random.integers(0, 256, 3).tolist(), -1)
        cv2.imwrite(str(path), image)
    return competition


@pytest.mark.slow
def test_28_of_30_faults_of_each_kind_are_found_among_2_000_images_with_at_most_two_false_alarms(tmp_path):
    competition, data = load_competition(CONFIG), tmp_path / "data"
    options = RunOptions(data, tmp_path / "runs")
    draw_competition(data, train=1700, test=300, seed=1)
    rows = read_rows(competition, data)
    folds = pd.Series(make_folds(competition, rows, tmp_path / "before").of_row, index=rows.train["id"])
    planted = plant(data, 30, folds)
    check = check_data(competition, options)
    is_png = planted["transparent"] | planted["deep"]  # below a name that ends with .jpg
    planted["wrong_suffix"] |= is_png
    for kind, ids in planted.items():
        found = found_by(check, kind)
        if kind == "leaks":  # folds change with the rows that can be used; in one fold they are just copies
            found |= found_by(check, "copies")
        faults = ids & found
        assert len(faults) >= 28 / 30 * len(ids), kind
        assert len(found - ids) <= 2, (kind, found - ids)
    assert check.findings.keys() <= planted.keys() | {"copies"}


def test_each_kind_of_file_is_found(photographs):
    random = np.random.default_rng(0)
    files = sorted((photographs.folder / "train").rglob("*.jpg"))
    for path, (_, change) in zip(files, FAULTS.items(), strict=False):
        change(path, cv2.imread(str(path))[..., ::-1], random)
    check = check_data(photographs.competition, RunOptions(photographs.folder))
    for path, kind in zip(files, FAULTS, strict=False):
        assert path.name in found_by(check, kind), kind
    assert check.counts == {"training": 48, "test": 8}


def test_copies_are_found_with_what_follows_from_them(photographs, tmp_path):
    table = pd.read_csv(photographs.folder / "train.csv", dtype=str)
    path = {row.Id: photographs.folder / "train" / row.Category / row.Id for row in table.itertuples()}
    of_class = {label: list(rows) for label, rows in table.groupby("Category")["Id"]}
    first, second, third = (of_class["0"][number] for number in range(3))
    path[of_class["1"][0]].write_bytes(path[first].read_bytes())
    cv2.imwrite(str(path[third]), cv2.resize(cv2.imread(str(path[second])), None, fx=0.8, fy=0.8))
    (test,) = list((photographs.folder / "test_upload").glob("*.jpg"))[:1]
    test.write_bytes(path[of_class["2"][0]].read_bytes())
    check = check_data(photographs.competition, RunOptions(photographs.folder, tmp_path / "runs"))
    assert found_by(check, "labels") == {first, of_class["1"][0]}
    assert found_by(check, "test_copies") == {test.name, of_class["2"][0]}
    assert found_by(check, "leaks") | found_by(check, "copies") == {second, third}
    assert set(check.groups) == {first, of_class["1"][0], second, third}


def test_rows_that_cannot_be_used_are_listed_with_their_lines(podium, photographs):
    table = pd.read_csv(photographs.folder / "train.csv", dtype=str)
    (photographs.folder / "train" / table["Category"][3] / table["Id"][3]).unlink()
    table.loc[5, "Id"] = "../outside.jpg"
    table.loc[7, "Id"] = table["Id"][6]
    table.to_csv(photographs.folder / "train.csv", index=False)
    ended = podium("data", "check", photographs.config, "--data", photographs.folder, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)["findings"]
    details = {item["detail"].split(":")[0]: item["detail"] for item in found["rows"]}
    assert "there is no such file" in details["line 5"]
    assert "leads outside the data folder" in details["line 7"]
    assert "its id is that of an earlier row" in details["line 9"]
    assert {Path(item["file"]).name for item in found["unused"]} == {"0005.jpg", "0007.jpg"}


def test_another_check_reads_no_image_again(photographs, monkeypatch):
    options = RunOptions(photographs.folder)
    first = check_data(photographs.competition, options)
    monkeypatch.setattr("podium.data.quality._measure", lambda *_: pytest.fail("an image was read again"))
    assert check_data(photographs.competition, options).to_dict() == first.to_dict()


def test_fixes_leave_images_out_and_keep_copies_in_one_fold(podium, photographs):
    table = pd.read_csv(photographs.folder / "train.csv", dtype=str)
    files = [photographs.folder / "train" / row.Category / row.Id for row in table.itertuples()]
    same = table.index[table["Category"] == "0"]
    files[same[1]].write_bytes(files[same[0]].read_bytes())
    cv2.imwrite(str(files[2]), np.full((64, 64, 3), 90, np.uint8))
    before = {path: path.read_bytes() for path in photographs.folder.rglob("*") if path.is_file()}
    ended = podium("data", "check", photographs.config, "--data", photographs.folder, "--fix")
    assert (ended.code, ended.err) == (0, "")
    assert before == {path: path.read_bytes() for path in photographs.folder.rglob("*") if path.is_file()}
    content = yaml.safe_load(photographs.config.read_text())
    ignore, groups = (f"{photographs.config.stem}-{kind}.csv" for kind in ("ignore", "groups"))
    content |= {"ignore": ignore, "folds": {"kind": "grouped", "count": 2, "groups": groups}}
    photographs.config.write_text(yaml.safe_dump(content))
    competition = load_competition(photographs.config)
    assert competition.ignore == [table["Id"][2]]
    folds = make_folds(competition, read_rows(competition, photographs.folder), Path("runs"))
    assert folds.of_row[same[0]] == folds.of_row[same[1]]
    assert "leaks" not in check_data(competition, RunOptions(photographs.folder)).findings


def test_page_shows_what_was_found_and_escapes_names(podium, photographs):
    photographs = photographs.change(title="<img src=x onerror=alert(1)>")
    table = pd.read_csv(photographs.folder / "train.csv", dtype=str)
    (photographs.folder / "train" / table["Category"][0] / table["Id"][0]).write_bytes(b"text")
    ended = podium("data", "check", photographs.config, "--data", photographs.folder)
    assert (ended.code, ended.err) == (0, "")
    assert "1      images that are unreadable" in ended.out
    page = Path("runs/data-check/tiny-squares/index.html").read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert table["Id"][0] in page


def test_test_images_of_another_size_are_drift(make_tiny_competition, tmp_path):
    competition = make_tiny_competition(tmp_path / "tiny", train=120, test=80)
    for path in (competition.folder / "test_upload").iterdir():
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (50, 50)) // 2)
    check = check_data(competition.competition, RunOptions(competition.folder))
    assert check.drift.auc > 0.95
    assert len(check.findings["drift"]) > 40


def test_a_folder_without_a_competition_is_checked(podium, photographs):
    folder = photographs.folder / "train"
    first, second, third = sorted(folder.rglob("*.jpg"))[:3]
    first.write_bytes(b"text")
    third.write_bytes(second.read_bytes())
    ended = podium("data", "check", folder, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert found["images"] == {"folder": 48}
    assert [item["id"] for item in found["findings"]["unreadable"]] == [first.relative_to(folder).as_posix()]
    assert {item["id"] for item in found["findings"]["copies"]} == {
        path.relative_to(folder).as_posix() for path in (second, third)
    }
    assert podium("data", "check", folder, "--fix").code == 2


def test_a_class_with_few_images_is_named(photographs):
    table = pd.read_csv(photographs.folder / "train.csv", dtype=str)
    table = table[(table["Category"] != "3") | (table.groupby("Category").cumcount() < 4)]
    table.to_csv(photographs.folder / "train.csv", index=False)
    check = check_data(photographs.competition, RunOptions(photographs.folder))
    assert [(item.id, item.detail) for item in check.findings["few"]] == [("Yellow", "4 images")]
