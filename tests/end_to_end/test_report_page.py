"""Pages about runs, members and ensembles: what they say, and that they stand alone."""

import json
import re
import shutil
import urllib.error
import urllib.request
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from podium import load_ensemble, load_member
from podium.config.loading import load_competition
from podium.detection.detector_run import detector_run
from podium.detection.loading import load_detector
from podium.options import RunOptions
from podium.reports.charts import roc_and_precision_recall
from podium.workflows import live_page
from podium.workflows.report import write_report_page
from podium.workflows.serve import make_server
from podium.workflows.subject import find_subject


class Page(HTMLParser):
    """The text of a page, the rows of its tables, its mistakes, and everything that it would load."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.mistakes, self.loaded, self.tags, self._cell = [], [], [], [], None
        self.source = Path(path).read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.loaded += [attributes[name] for name in ("src", "href", "xlink:href") if attributes.get(name)]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = ""
        if "data-true" in attributes:
            self.mistakes.append((attributes["data-true"], attributes["data-predicted"]))

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.rows[-1].append(self._cell.strip())
            self._cell = None

    def row(self, name):
        return next(row for row in self.rows if row and row[0] == name)


@pytest.fixture
def finished(finished_ensemble, tmp_path, podium):
    finished_ensemble.copy_to(tmp_path)
    return finished_ensemble


def oof_of(folder):
    table = pd.read_csv(folder / "oof.csv", dtype={"id": str, "label": str})
    names = [name.removeprefix("p_") for name in table if name.startswith("p_")]
    return table, names, table[[f"p_{name}" for name in names]].to_numpy()


@pytest.mark.slow
def test_figures_of_the_page_are_those_of_scikit_learn(finished, podium):
    ended = podium("report", finished.ensemble, "--data", finished.competition.folder)
    assert (ended.code, ended.err) == (0, "")
    page = Page(ended.out.strip())
    (blend,) = [path.parent for path in Path("runs").glob("ensemble-*/blend.json")]
    assert Path(ended.out.strip()) == blend / "report.html"
    table, names, values = oof_of(blend)
    predicted = [names[number] for number in values.argmax(axis=1)]
    precision, recall, f1, support = precision_recall_fscore_support(
        table["label"], predicted, labels=names, zero_division=0
    )
    for number, label in enumerate(names):
        name = finished.competition.competition.classes[label]
        expected = [precision[number], recall[number], f1[number]]
        assert page.row(name) == [name, *(f"{value:.3f}" for value in expected), str(support[number])]
    wrong = [
        (finished.competition.competition.classes[true], finished.competition.competition.classes[given])
        for true, given in zip(table["label"], predicted, strict=True)
        if true != given
    ]
    assert sorted(page.mistakes) == sorted(wrong)
    matrix = confusion_matrix(table["label"], predicted, labels=names)
    for count in matrix[matrix > 0]:
        assert re.search(rf">\s*{count}\s*</text>", page.source)
    first = finished.members[0].stem
    for folder in sorted(Path("runs").glob(f"{first}-*/fold*/predictions-*")):
        table, names, values = oof_of(folder)
        score = accuracy_score(table["label"], [names[number] for number in values.argmax(axis=1)])
        assert f"{score:.4f}" in next(row for row in page.rows if row[:2] == [first, folder.parent.name])
    stage = next(row[2] for row in page.rows if row[:2] == [first, "stage all"])
    wanted = {"unfreeze": "all", "epochs": 2, "batch_size": 8, "image_size": 32, "learning_rate": 0.005}
    assert yaml.safe_load(f"{{{stage}}}").items() >= wanted.items()


def test_areas_of_curves_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    truth = np.eye(3)[random.integers(0, 3, 60)]
    scores = random.dirichlet(np.ones(3), 60) + 0.3 * truth
    chart = roc_and_precision_recall(truth, scores, ["a", "b", "c"])
    for number, name in enumerate("abc"):
        assert f"{name} {roc_auc_score(truth[:, number], scores[:, number]):.3f}" in chart.description


def test_page_stands_alone_and_escapes_names(finished, podium, tmp_path):
    hostile = "<img src=x onerror=alert(1)>"
    for path in Path("runs").glob("*/fold*/config.yaml"):
        content = yaml.safe_load(path.read_text())
        content["competition"]["classes"]["0"] = hostile
        path.write_text(yaml.safe_dump(content))
    (run,) = Path("runs").glob("first-*")
    ended = podium("report", run, "--data", finished.competition.folder, "--out", tmp_path / "page.html")
    assert (ended.code, ended.err) == (0, "")
    page = Page(tmp_path / "page.html")
    assert all(place.startswith(("data:", "#")) for place in page.loaded)
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page.source)
    assert hostile not in page.source
    assert "&lt;img src=x onerror=alert(1)&gt;" in page.source
    assert page.source.count("<script>") == 1


def test_mistakes_are_listed_worst_first_with_the_members_that_agree(finished, podium):
    ended = podium("mistakes", finished.ensemble, "--data", finished.competition.folder)
    assert (ended.code, ended.err) == (0, "")
    (blend,) = [path.parent for path in Path("runs").glob("ensemble-*/blend.json")]
    mistakes = pd.read_csv(blend / "mistakes.csv", dtype={"id": str})
    table, names, values = oof_of(blend)
    probability = dict(
        zip(
            table["id"],
            [row[names.index(label)] for label, row in zip(table["label"], values, strict=True)],
            strict=True,
        )
    )
    listed = [probability[name] for name in mistakes["id"]]
    assert listed == sorted(listed)
    np.testing.assert_allclose(mistakes["of_true"], listed, atol=1e-4)
    assert len(mistakes) == (np.array(names)[values.argmax(axis=1)] != table["label"]).sum()
    assert set(mistakes["agree"]) <= {"0 of 2", "1 of 2", "2 of 2"}
    assert all(Path(file).is_file() for file in mistakes["file"])
    assert (blend / "mistakes.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_run_in_training_has_a_page_without_predictions(podium, tiny_competition, monkeypatch):
    monkeypatch.setattr(live_page, "LEAST_SECONDS", 0.0)
    written = []
    monkeypatch.setattr(
        live_page,
        "write_report_page",
        lambda *arguments, **options: written.append(write_report_page(*arguments, **options)),
    )
    assert podium("train", tiny_competition.member(), "--data", tiny_competition.folder, "--fold", "0").code == 0
    (run,) = Path("runs").glob("tiny-*/fold0")
    assert len(written) >= 2  # after an epoch, and at the end
    assert (run / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"
    page = Page(run / "report.html")
    assert "1 fold, not predicted yet; best val_accuracy" in page.source
    assert "Learning curves of tiny, fold0" in page.source
    assert "podium report" not in podium("report", "--data", tiny_competition.folder).err


@pytest.mark.slow
def test_a_failure_to_write_the_page_does_not_end_a_training(podium, tiny_competition, monkeypatch):
    monkeypatch.setattr(live_page, "LEAST_SECONDS", 0.0)

    def fail(*_, **__):
        raise OSError("the disk is on fire")

    monkeypatch.setattr(live_page, "write_report_page", fail)
    ended = podium("train", tiny_competition.member(), "--data", tiny_competition.folder, "--fold", "0")
    assert ended.code == 0
    assert ended.out.count("the page of this run cannot be written: the disk is on fire") == 1


@pytest.mark.slow
def test_heat_maps_and_a_map_of_the_images(finished, podium):
    ended = podium("report", finished.members[0], "--data", finished.competition.folder, "--explain")
    assert (ended.code, ended.err) == (0, "")
    page = Page(ended.out.strip())
    assert page.tags.count("circle") == 12  # the rows of one fold
    assert page.source.count('alt="Where the model looks in ') == len(page.mistakes)


@pytest.mark.slow
def test_numbers_have_residuals_and_the_largest_errors_first(podium, make_tiny_competition, tmp_path):
    changes = {"target": {"kind": "regression", "columns": ["Size"]}, "metric": "rmse", "classes": {}}
    competition = make_tiny_competition(tmp_path / "tiny")
    table = pd.read_csv(competition.folder / "train.csv")
    table["Size"] = np.linspace(1, 9, len(table))
    table.to_csv(competition.folder / "train.csv", index=False)
    sample = pd.read_csv(competition.folder / "sample-submission.csv")[["Id"]].assign(Size=0)
    sample.to_csv(competition.folder / "sample-submission.csv", index=False)
    content = yaml.safe_load(competition.config.read_text()) | changes
    content["train"]["images"] = "train/{Category}/{id}"
    del content["classes"]
    competition.config.write_text(yaml.safe_dump(content))
    load_competition(competition.config)
    assert podium("run", competition.ensemble([competition.member()]), "--data", competition.folder).code == 0
    ended = podium(
        "report", Path("configs") if False else competition.config.parent / "tiny.yaml", "--data", competition.folder
    )
    assert (ended.code, ended.err) == (0, "")
    page = Page(ended.out.strip())
    assert "Predicted and true Size" in page.source
    errors = [float(found) for found in re.findall(r"error ([\d.e+-]+)<br>", page.source)]
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == 24


@pytest.mark.slow
def test_page_of_a_detector_has_its_curves_and_worst_images(trained_detector, tmp_path, podium_in):
    folder = tmp_path / "squares"
    shutil.copytree(trained_detector[0], folder, ignore=shutil.ignore_patterns("evaluation"))
    before = podium_in(folder, "report", "--data", "data")
    assert (before.code, before.err) == (0, "")
    assert "It is not evaluated yet" in Page(folder / before.out.strip()).source
    assert podium_in(folder, "detect", "evaluate", "squares.yaml", "--data", "data").code == 0
    ended = podium_in(folder, "report", "squares.yaml", "--data", "data")
    assert (ended.code, ended.err) == (0, "")
    page = Page(folder / ended.out.strip())
    (metrics,) = [json.loads(path.read_text()) for path in folder.glob("runs/*/fold0/evaluation/metrics.json")]
    part = metrics["parts"]["test"] if "test" in metrics["parts"] else metrics["parts"]["validation"]
    for name, found in part["classes"].items():
        row = page.row(name)
        assert row[1] == ("–" if found["ap50"] is None else f"{found['ap50']:.3f}")
        assert row[-1] == str(found["boxes"])
    counts = [tuple(map(int, found)) for found in re.findall(r"(\d+) missed, (\d+) false", page.source)]
    assert [sum(pair) for pair in counts] == sorted(map(sum, counts), reverse=True)
    assert sum(missed for missed, _ in counts) == part["false_negatives"]
    assert sum(false for _, false in counts) == part["false_positives"]


def test_a_detector_in_training_has_a_page(trained_detector, tmp_path, monkeypatch):
    folder = tmp_path / "squares"
    shutil.copytree(trained_detector[0], folder, ignore=shutil.ignore_patterns("evaluation", "report.html"))
    monkeypatch.chdir(folder)
    console = Console(file=StringIO())
    run = detector_run(load_detector(Path("squares.yaml")), RunOptions(Path("data")), console)
    live_page.LivePage(run, console).write()
    assert "cannot be written" not in console.file.getvalue()
    assert "Loss and learning rate" in Page(run.run.path / "report.html").source
    assert (run.run.path / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"


def test_newest_run_is_served_to_this_machine_only(finished):
    with make_server(RunOptions(finished.competition.folder), 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(address) as response:
            page = response.read().decode()
        assert 'aria-label="Runs"' in page
        (name,) = {path.parent.parent.name for path in Path("runs").glob("first-*/fold0/history.csv")}
        with urllib.request.urlopen(f"{address}/{name}/fold0") as response:
            assert "first, fold0" in response.read().decode()
        for place, host, code in (("/../secret", None, 404), ("/", "evil.example", 403)):
            request = urllib.request.Request(address + place, headers={"Host": host} if host else {})
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(request)
            assert error.value.code == code
            assert error.value.headers["Refresh"] or code == 403  # a page that waits for its run
            error.value.close()
        server.shutdown()


@pytest.mark.slow
def test_notebook_figures(finished):
    from podium import predict, report, train
    from podium import run as run_ensemble

    member = load_member(finished.members[0])
    data = finished.competition.folder
    run = train(member, data=data)
    assert len(run.plot().axes) == 3
    assert run.plot().axes[0].lines[0].get_ydata().tolist() == run.history["loss"].tolist()
    predictions = predict(run)
    assert predictions.plot_mistakes(4, data=data).axes
    assert report(run, data=data).read_text().startswith("<!doctype html>")
    assert report(predictions, data=data) == report(run, data=data)
    ensemble = load_ensemble(finished.ensemble)
    assert run_ensemble(ensemble, data=data).plot().axes


def test_what_does_not_exist_is_one_line(podium, tmp_path):
    assert podium("report").err == "podium: there is no run in runs; start one with podium train\n"
    assert "does not exist; expected a folder in runs" in podium("report", "nothing.yaml").err
    (tmp_path / "empty").mkdir()
    assert "empty is not a run" in podium("report", "empty").err


def test_report_of_a_subject_finds_the_newest_run(finished):
    subject = find_subject(None, RunOptions())
    assert subject.path.name.startswith("fold")
