"""`podium board`: the ledger, with --sync updated from Kaggle, and the chart."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from standin.faults import Fault

from podium.cli import options
from podium.cli.main import main
from podium.submission.ledger import Ledger, Row

COMPETITION = """\
slug: cars
train: {table: train.csv, images: 'train/{id}'}
test: {images: 'test/{id}'}
classes: [red, blue]
metric: accuracy
"""
BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(number, own=0.97, public=0.96, **values):
    return Row.of(
        **{
            "time": BEGIN + timedelta(days=number),
            "competition": "cars",
            "file": f"cars_blend__2026010{number}-120000.csv",
            "sha256": f"{number:012x}" + "0" * 52,
            "message": f"try {number}",
            "metric": "accuracy",
            "cross_validation": own,
            "standard_error": 0.003,
            "public_score": public,
            "status": "complete",
            "ref": 100 + number,
            "marker": f"{number:012x}",
            **values,
        }
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "configs" / "competitions").mkdir(parents=True)
    (tmp_path / "configs" / "competitions" / "cars.yaml").write_text(COMPETITION)
    monkeypatch.chdir(tmp_path)
    # No server listens there: requests to Kaggle fail.
    monkeypatch.setenv("PODIUM_KAGGLE_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


@pytest.fixture
def ledger(here):
    ledger = Ledger()
    for number, (own, public) in enumerate([(0.950, 0.948), (0.960, 0.955), (0.955, 0.951), (0.968, 0.966)], start=1):
        ledger.add(row(number, own, public))
    return ledger


@pytest.fixture
def podium(monkeypatch, capsys):
    """Run a command line; returns its exit code, stdout and stderr."""
    monkeypatch.setattr(options, "debug_is_on", False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["podium", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return exit_.value.code or 0, "\n".join(line.rstrip() for line in out.splitlines()), err

    return run


# Offline


def test_board_shows_submissions_agreement_and_ranking_without_internet(podium, ledger, here):
    ledger.add(row(5, 0.966, 0.967))
    ledger.change(row(4), place=3, teams=40)
    code, out, err = podium("board")
    assert (code, err) == (0, "")
    assert (
        out
        == """\
submissions to cars (accuracy, higher is better)
time (UTC)        file                    message  cross-validation   public  private    place
2026-01-02 12:00  blend__20260101-120000  try 1     0.9500 ± 0.0030  0.94800
2026-01-03 12:00  blend__20260102-120000  try 2     0.9600 ± 0.0030  0.95500
2026-01-04 12:00  blend__20260103-120000  try 3     0.9550 ± 0.0030  0.95100
2026-01-05 12:00  blend__20260104-120000  try 4     0.9680 ± 0.0030  0.96600           3 of 40
2026-01-06 12:00  blend__20260105-120000  try 5     0.9660 ± 0.0030  0.96700
cross-validation against leaderboard, 5 submissions with both scores: Pearson 0.97 (95 % interval 0.61 to 1.00), \
Spearman 0.90 (95 % interval -0.17 to 1.00)
leaderboard minus cross-validation: -0.0024 ± 0.0010 on average
ranked by cross-validation; less than two standard errors behind the best is a tie (errors are assumed to be \
independent, which is cautious)
no significant agreement of leaderboard and cross-validation (both intervals must be above 0): public scores are \
not used
  1=  blend__20260104-120000  0.9680 ± 0.0030  best
  1=  blend__20260105-120000  0.9660 ± 0.0030  tie: 0.0020 behind, two standard errors are 0.0085
  1=  blend__20260102-120000  0.9600 ± 0.0030  tie: 0.0080 behind, two standard errors are 0.0085
  4   blend__20260103-120000  0.9550 ± 0.0030  0.0130 behind, two standard errors are 0.0085
  5   blend__20260101-120000  0.9500 ± 0.0030  0.0180 behind, two standard errors are 0.0085
chart: submissions/board.png"""
    )
    assert (here / "submissions" / "board.png").read_bytes().startswith(b"\x89PNG")


def test_out_names_the_chart_and_last_limits_the_ranking(podium, ledger, here):
    code, out, _ = podium("board", "--out", "charts/cars.png", "--last", "2")
    assert code == 0
    assert re.findall(r"^  \d=? +(\S+)", out, re.MULTILINE) == ["blend__20260104-120000", "blend__20260103-120000"]
    assert (here / "charts" / "cars.png").is_file()
    assert not (here / "submissions" / "board.png").exists()


def test_empty_ledger_is_an_error_with_the_fix(podium, here):
    code, _, err = podium("board")
    assert code == 1
    assert err.startswith("podium: submissions/ledger.csv has no rows; name a competition: ")
    code, out, _ = podium("board", "--competition", "cars")
    assert (code, out) == (
        0,
        "no submissions to cars yet: send one with podium submit, or add existing ones with podium board --sync",
    )


def test_newest_competition_is_shown_and_the_others_are_named(podium, ledger, here):
    ledger.add(
        row(9, competition="boats", file="boats_a.csv", metric="log_loss", cross_validation=0.3, public_score=0.4)
    )
    out = podium("board")[1]
    assert out.startswith("submissions to boats (log_loss, lower is better)\n")
    assert out.endswith("also in submissions/ledger.csv: cars (4); name one with --competition")
    for name in ("cars", "configs/competitions/cars.yaml"):
        assert podium("board", "--competition", name)[1].startswith(
            "submissions to cars (accuracy, higher is better)\n"
        )


def test_every_status_is_shown_and_messages_are_not_markup(podium, here):
    ledger = Ledger()
    for number, status in enumerate(("uploading", "pending", "error", "failed"), start=1):
        ledger.add(row(number, None, None, status=status, message=f"[red]{status} $[/red]"))
    code, out, _ = podium("board")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()[2:6]] == ["uploading", "pending", "scored", "sent"]
    assert "[red]failed $[/red]" in out
    assert "not ranked: no scored submission has a cross-validation score" in out
    assert "no chart: no submission has both scores yet" in out
    assert "1 interrupted during upload: podium board --sync checks whether they reached Kaggle" in out


def test_unknown_direction_of_the_metric_gives_no_ranking(podium, here):
    Ledger().add(row(1, competition="boats", metric=""))
    out = podium("board")[1]
    assert out.startswith("submissions to boats (metric unknown)\n")
    assert "not ranked: it is unknown whether a higher score is better; name a file with --competition FILE" in out


def test_invalid_ledger_is_one_line(podium, ledger, here):
    ledger.path.write_text(ledger.path.read_text().replace("0.948", "good"))
    assert podium("board") == (
        1,
        "",
        "podium: submissions/ledger.csv line 2: public_score is 'good'; expected a number or an empty cell; nothing"
        " was changed: fix it, or move it away and create it again from Kaggle with podium board --sync\n",
    )


def test_missing_competition_file_is_one_line(podium, ledger, here):
    assert (
        podium("board", "--competition", "none.yaml")[2] == "podium: none.yaml  no such file; is . the right folder?\n"
    )


def test_json_has_submissions_agreement_and_ranking(podium, ledger, here):
    code, out, err = podium("board", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert (content["competition"], content["metric"], content["higher_is_better"]) == ("cars", "accuracy", True)
    first = content["submissions"][0]
    assert (first["ref"], first["cross_validation"], first["private_score"]) == (101, 0.95, None)
    assert content["agreement"]["points"] == 4
    assert content["agreement"]["pearson"]["value"] == pytest.approx(0.98, abs=0.02)
    assert [one["rank"] for one in content["ranking"]] == [1, 1, 3, 4]
    assert content["chart"] == "submissions/board.png"


# With Kaggle


@pytest.fixture
def cars(here, standin):
    """The competition at Kaggle, with three other teams."""
    return standin.add_competition(
        "cars", {}, lambda content: float(content.decode()), others={"one": 0.99, "two": 0.9655, "three": 0.9}
    )


def at_kaggle(standin, competition, content, description, name="cars_x.csv"):
    return standin.add_submission(competition.slug, content.encode(), description, name)


def test_sync_adds_submissions_made_elsewhere_with_scores_and_places(podium, here, cars, standin):
    mine = at_kaggle(standin, cars, "0.966", "mine [podium 000000000004]", "cars_mine.csv")
    Ledger().add(row(4, 0.968, None, status="pending", ref=mine.ref, file="cars_mine.csv"))
    at_kaggle(standin, cars, "0.951", "by hand")
    at_kaggle(standin, cars, "0.949", "there [podium abcdefabcdef]", "cars_blend__20260105-120000.csv")
    (here / "runs" / "blend-1a2b3c4d").mkdir(parents=True)
    (here / "runs" / "blend-1a2b3c4d" / "blend.json").write_text(
        '{"competition": "cars", "metric": "accuracy", "score": 0.955, "standard_error": 0.004,'
        ' "submission": "cars_blend__20260105-120000.csv"}'
    )
    code, out, err = podium("board", "--sync")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "cars: 2 submissions made elsewhere added, 1 updated; 4 teams on the leaderboard"
    rows = Ledger().rows("cars")
    assert [(one["message"], one.status, one.public_score, one["place"], one["teams"]) for one in rows] == [
        ("try 4", "complete", 0.966, "2", "4"),
        ("by hand", "complete", 0.951, "4", "4"),
        ("there", "complete", 0.949, "4", "4"),
    ]
    assert [one.cross_validation for one in rows] == [0.968, None, 0.955]
    assert [one["sha256"] for one in rows][1:] == ["", ""]
    before = Ledger().path.read_bytes()
    assert podium("board", "--sync")[1].startswith("cars: 0 submissions made elsewhere added, 0 updated; 4 teams")
    assert Ledger().path.read_bytes() == before


def test_sync_completes_interrupted_submissions(podium, here, cars, standin):
    ledger = Ledger()
    ledger.add(row(1, public=None, status="uploading", ref=None))
    ledger.add(row(2, public=None, status="uploading", ref=None))
    there = at_kaggle(standin, cars, "0.95", "try 2 [podium 000000000002]")
    code, out, _ = podium("board", "--sync")
    assert code == 0
    assert "interrupted" not in out
    assert [(one.status, one.ref, one["error"]) for one in ledger.rows()] == [
        ("failed", None, "interrupted before it reached Kaggle"),
        ("complete", there.ref, ""),
    ]


def test_sync_needs_no_ledger_if_the_competition_is_named(podium, here, cars, standin):
    at_kaggle(standin, cars, "0.951", "by hand")
    assert podium("board", "--sync")[0] == 1
    assert podium("board", "--sync", "--competition", "cars")[0] == 0
    assert [one["message"] for one in Ledger().rows()] == ["by hand"]


def test_private_scores_are_added_when_kaggle_shows_them(podium, here, cars, standin):
    at_kaggle(standin, cars, "0.951", "by hand")
    podium("board", "--sync", "--competition", "cars")
    cars.shows_private = True
    out = podium("board", "--sync")[1]
    assert "1 updated" in out
    assert re.search(r"0\.95100 +0\.95100 +3 of 4", out)


def test_all_pages_of_submissions_and_teams_are_read(podium, here, cars, standin):
    cars.others = {f"team {number}": 0.5 + number / 1000 for number in range(250)}
    for number in range(130):
        at_kaggle(standin, cars, f"{0.5 + number / 1000}", f"number {number}")
    code, out, _ = podium("board", "--sync", "--competition", "cars")
    assert code == 0
    assert out.startswith("cars: 130 submissions made elsewhere added, 0 updated; 251 teams on the leaderboard")
    assert len(Ledger().rows()) == 130


CALLS = ["ListSubmissions", "GetLeaderboard"]


@pytest.mark.parametrize("call", CALLS)
def test_temporary_failure_is_retried(podium, here, cars, standin, call):
    at_kaggle(standin, cars, "0.951", "by hand")
    standin.fail(call, Fault.status(503))
    code, _, err = podium("board", "--sync", "--competition", "cars")
    assert (code, err) == (0, "")
    assert [one["place"] for one in Ledger().rows()] == ["3"]


@pytest.mark.parametrize("call", CALLS)
def test_permanent_failure_is_one_line_and_loses_no_row(podium, here, cars, ledger, standin, call):
    standin.fail(call, Fault.status(403), times=None)
    exit_code, _, err = podium("board", "--sync")
    assert exit_code == 1
    assert len(err.splitlines()) == 1
    assert [one.cross_validation for one in ledger.rows()] == [0.95, 0.96, 0.955, 0.968]
    standin.heal()
    assert podium("board", "--sync")[0] == 0
