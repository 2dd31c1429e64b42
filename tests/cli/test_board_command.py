"""`podium board`: offline what the ledger says, with --sync what Kaggle says, and the chart beside it."""

import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from standin.faults import Fault

from podium.cli import options
from podium.cli.main import main
from podium.kaggle import connection
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
    monkeypatch.setattr(connection, "READ_SECONDS", 0.5)
    # Nothing but loopback answers, and no stand-in is there: whoever asks Kaggle fails.
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


def test_the_board_tells_the_ledger_the_agreement_and_whom_to_trust_and_asks_nobody(podium, ledger, here):
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
the leaderboard less cross-validation: -0.0024 ± 0.0010 on average
which to trust: by cross-validation; less than two standard errors behind the best is a tie (the errors taken as \
independent, which is careful)
the leaderboard is not proven to follow cross-validation (that needs both intervals above 0): public scores decide \
nothing
  1=  blend__20260104-120000  0.9680 ± 0.0030  the best
  1=  blend__20260105-120000  0.9660 ± 0.0030  tie: 0.0020 behind, two standard errors are 0.0085
  1=  blend__20260102-120000  0.9600 ± 0.0030  tie: 0.0080 behind, two standard errors are 0.0085
  4   blend__20260103-120000  0.9550 ± 0.0030  0.0130 behind, two standard errors are 0.0085
  5   blend__20260101-120000  0.9500 ± 0.0030  0.0180 behind, two standard errors are 0.0085
chart: submissions/board.png"""
    )
    assert (here / "submissions" / "board.png").read_bytes().startswith(b"\x89PNG")


def test_the_chart_may_go_elsewhere_and_only_the_last_ones_are_judged(podium, ledger, here):
    code, out, _ = podium("board", "--out", "charts/cars.png", "--last", "2")
    assert code == 0
    assert re.findall(r"^  \d=? +(\S+)", out, re.MULTILINE) == ["blend__20260104-120000", "blend__20260103-120000"]
    assert (here / "charts" / "cars.png").is_file()
    assert not (here / "submissions" / "board.png").exists()


def test_an_empty_ledger_says_how_it_gets_rows(podium, here):
    code, _, err = podium("board")
    assert code == 1
    assert err.startswith("podium: submissions/ledger.csv has no row yet, so the competition must be named: ")
    code, out, _ = podium("board", "--competition", "cars")
    assert (code, out) == (
        0,
        "nothing was submitted to cars yet; podium submit FILE -m TEXT does, board --sync asks Kaggle",
    )


def test_of_several_competitions_the_newest_one_is_told_and_the_others_named(podium, ledger, here):
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


def test_every_status_is_shown_and_text_is_shown_as_it_is(podium, here):
    ledger = Ledger()
    for number, status in enumerate(("uploading", "pending", "error", "failed"), start=1):
        ledger.add(row(number, None, None, status=status, message=f"[red]{status} $[/red]"))
    code, out, _ = podium("board")
    assert code == 0
    assert [line.split()[-1] for line in out.splitlines()[2:6]] == ["uploading", "pending", "scored", "sent"]
    assert "[red]failed $[/red]" in out
    assert "which to trust: nothing says, since none that is scored has a cross-validation score" in out
    assert "no chart: no submission has both scores yet" in out
    assert "1 broken off while it was sent: podium board --sync asks Kaggle whether it has it" in out


def test_without_a_competition_file_nobody_says_which_way_is_better(podium, here):
    Ledger().add(row(1, competition="boats", metric=""))
    out = podium("board")[1]
    assert out.startswith("submissions to boats (metric unknown)\n")
    assert "which to trust: no competition file says which way is better; name one with --competition FILE" in out


def test_a_damaged_ledger_is_one_line(podium, ledger, here):
    ledger.path.write_text(ledger.path.read_text().replace("0.948", "good"))
    assert podium("board") == (
        1,
        "",
        "podium: submissions/ledger.csv line 2: public_score is 'good'; expected a number or nothing; nothing was"
        " changed: mend it by hand, or move it away, and podium board --sync brings in what Kaggle knows\n",
    )


def test_wrong_names_are_told(podium, ledger, here):
    assert (
        podium("board", "--competition", "none.yaml")[2] == "podium: none.yaml  no such file; is . the right folder?\n"
    )


# With Kaggle


@pytest.fixture
def cars(here, standin):
    """The competition at Kaggle, with three other teams."""
    return standin.add_competition(
        "cars", {}, lambda content: float(content.decode()), others={"one": 0.99, "two": 0.9655, "three": 0.9}
    )


def at_kaggle(standin, competition, content, description, name="cars_x.csv"):
    return standin.competition_methods._made(competition, name, content.encode(), description)


def test_sync_brings_in_what_was_made_elsewhere_with_scores_and_places(podium, here, cars, standin):
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
    assert out.splitlines()[0] == "cars: 2 submissions made elsewhere brought in, 1 changed; 4 teams on the leaderboard"
    rows = Ledger().rows("cars")
    assert [(one["message"], one.status, one.public_score, one["place"], one["teams"]) for one in rows] == [
        ("try 4", "complete", 0.966, "2", "4"),
        ("by hand", "complete", 0.951, "4", "4"),
        ("there", "complete", 0.949, "4", "4"),
    ]
    assert [one.cross_validation for one in rows] == [0.968, None, 0.955]
    assert [one["sha256"] for one in rows][1:] == ["", ""]
    before = Ledger().path.read_bytes()
    assert podium("board", "--sync")[1].startswith("cars: 0 submissions made elsewhere brought in, 0 changed; 4 teams")
    assert Ledger().path.read_bytes() == before


def test_sync_mends_what_a_killed_sending_left(podium, here, cars, standin):
    ledger = Ledger()
    ledger.add(row(1, public=None, status="uploading", ref=None))
    ledger.add(row(2, public=None, status="uploading", ref=None))
    there = at_kaggle(standin, cars, "0.95", "try 2 [podium 000000000002]")
    code, out, _ = podium("board", "--sync")
    assert code == 0
    assert "broken off" not in out
    assert [(one.status, one.ref, one["error"]) for one in ledger.rows()] == [
        ("failed", None, "broken off before Kaggle had it"),
        ("complete", there.ref, ""),
    ]


def test_sync_works_without_a_ledger_where_the_competition_is_named(podium, here, cars, standin):
    at_kaggle(standin, cars, "0.951", "by hand")
    assert podium("board", "--sync")[0] == 1
    assert podium("board", "--sync", "--competition", "cars")[0] == 0
    assert [one["message"] for one in Ledger().rows()] == ["by hand"]


def test_private_scores_appear_when_kaggle_shows_them(podium, here, cars, standin):
    at_kaggle(standin, cars, "0.951", "by hand")
    podium("board", "--sync", "--competition", "cars")
    cars.shows_private = True
    out = podium("board", "--sync")[1]
    assert "1 changed" in out
    assert re.search(r"0\.95100 +0\.95100 +3 of 4", out)


def test_many_submissions_and_teams_are_read_to_the_last_page(podium, here, cars, standin):
    cars.others = {f"team {number}": 0.5 + number / 1000 for number in range(250)}
    for number in range(130):
        at_kaggle(standin, cars, f"{0.5 + number / 1000}", f"number {number}")
    code, out, _ = podium("board", "--sync", "--competition", "cars")
    assert code == 0
    assert out.startswith("cars: 130 submissions made elsewhere brought in, 0 changed; 251 teams on the leaderboard")
    assert len(Ledger().rows()) == 130


CALLS = ["ListSubmissions", "GetLeaderboard"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(429, retry_after=0),
        Fault.status(500),
        Fault.status(503),
        Fault.reset_before(),
        Fault.reset_midway(),
        Fault.truncated(),
        Fault.malformed(),
        Fault.stall(),
    ],
    ids=lambda fault: f"{fault.kind}{fault.code or ''}",
)
def test_a_problem_that_passes_is_retried(podium, here, cars, standin, call, fault):
    at_kaggle(standin, cars, "0.951", "by hand")
    standin.fail(call, fault)
    code, _, err = podium("board", "--sync", "--competition", "cars")
    assert (code, err) == (0, "")
    assert [one["place"] for one in Ledger().rows()] == ["3"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_a_problem_that_stays_is_one_line_and_loses_nothing(podium, here, cars, ledger, standin, call, code):
    standin.fail(call, Fault.status(code), times=None)
    exit_code, _, err = podium("board", "--sync")
    assert exit_code == 1
    assert len(err.splitlines()) == 1
    assert [one.cross_validation for one in ledger.rows()] == [0.95, 0.96, 0.955, 0.968]
    standin.heal()
    assert podium("board", "--sync")[0] == 0
