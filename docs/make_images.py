"""python docs/make_images.py: draw the images of the README from the finished demo (make demo), into docs/images.

The page of the data needs Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import pandas as pd

from podium.config.loading import load_competition
from podium.demo.competition import draw_competition
from podium.options import RunOptions
from podium.reports.charts import combined, confusion, learning_curves
from podium.reports.sheet import image_figure, images_of
from podium.workflows.data_check import check_data, write_findings
from podium.workflows.subject import Subject, find_subject, image_paths

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
COLUMNS, MISTAKES = 8, 16
FAULTS = 3
"""Planted faults of each kind, and copies, in a small drawn competition: the demo's own data has none."""


def draw_training(subject: Subject) -> None:
    part = subject.parts[0]
    history = pd.read_csv(part.runs[0].history)
    curves = learning_curves(history, subject.metric.name, f"Learning curves of {part.name}, fold 0")
    oof = subject.oof
    assert oof is not None
    truth = subject.target.truth(oof.known_truth)
    matrix = subject.target.reports(truth, oof.values)["confusion_matrix.csv"].drop(columns="true class").to_numpy()
    chart = confusion(matrix, list(subject.competition.classes.values()), "Confusion matrix of the blend")
    combined((curves, chart), (11, 6.6), (1, 1.5)).savefig(IMAGES / "training.png", dpi=80)


def draw_mistakes(subject: Subject, options: RunOptions) -> None:
    images = image_paths(subject.competition, options)
    assert images is not None
    rows = subject.mistakes.head(MISTAKES).to_dict("records")
    titles = [f"{row['true']} → {row['predicted']}\nconfidence {row['confidence']:.2f}" for row in rows]
    figure = image_figure(images_of(images[0], [images[1][str(row["id"])] for row in rows]), titles, COLUMNS)
    figure.savefig(IMAGES / "mistakes.jpg", dpi=80)


def draw_data_page() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("the page of the data needs Chromium: install it (Debian: apt-get install chromium)")
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    from planted_faults import plant

    competition = load_competition(ROOT / "configs" / "competitions" / "podium-demo-cars.yaml")
    with tempfile.TemporaryDirectory() as folder:
        data, runs = Path(folder) / "data", Path(folder) / "runs"
        draw_competition(data, train=200, test=40, seed=1)
        plant(data, FAULTS)
        page = write_findings(check_data(competition, RunOptions(data, runs)), runs)
        shot, frame = Path(folder) / "page.png", page.with_name("frame.html")  # begins at the first images
        frame.write_text('<body style="margin: 0"><iframe src="index.html#labels" width="1000" height="1000"></iframe>')
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--screenshot={shot}", "--window-size=1000,1000"]
        subprocess.run([browser, *options, frame.as_uri()], check=True, capture_output=True)
        cv2.imwrite(str(IMAGES / "data.jpg"), cv2.imread(str(shot)), [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    options = RunOptions()
    subject = find_subject(ROOT / "configs" / "ensembles" / "demo.yaml", options)
    draw_training(subject)
    draw_mistakes(subject, options)
    draw_data_page()
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
