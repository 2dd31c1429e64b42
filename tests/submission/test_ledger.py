import csv
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from podium.config.kaggle_names import KernelRef
from podium.errors import RunError, SubmissionError
from podium.submission import ledger as ledgers
from podium.submission.ledger import (
    COLUMNS,
    Ledger,
    Row,
    described,
    digest_of_content,
    digest_of_output,
    marker_for,
    marker_in,
    merged,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ONE, TWO = "1a2b3c4d5e6f", "0123456789ab"


@dataclass(frozen=True)
class AtKaggle:
    """A submission as podium's client gives it."""

    ref: int
    description: str
    status: str = "complete"
    file_name: str = "cars_a.csv"
    date: datetime | None = NOON
    public_score: float | None = 0.97
    private_score: float | None = None
    error: str = ""


def row(**values):
    return Row.of(
        **{"time": NOON, "competition": "cars", "file": "cars_a.csv", "status": "uploading", "marker": ONE, **values}
    )


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "submissions" / "ledger.csv")


def test_a_ledger_that_is_not_there_has_no_rows_and_a_new_row_makes_it(ledger):
    assert ledger.rows() == []
    assert not ledger.path.exists()
    ledger.add(row(message="two  members,\nblended", cross_validation=0.97399999, public_score=None))
    with ledger.path.open(newline="") as opened:
        heading, *lines = csv.reader(opened)
    assert tuple(heading) == COLUMNS
    assert len(lines) == 1
    told = dict(zip(heading, lines[0], strict=True))
    assert told["time"] == "2026-01-31T12:00:00Z"
    assert told["message"] == "two members, blended"
    assert (told["cross_validation"], told["public_score"]) == ("0.97399999", "")


def test_a_time_without_a_zone_is_utc_wherever_the_machine_stands(ledger, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        ledger.add(row(time=NOON.replace(tzinfo=None)))
        assert ledger.rows()[0]["time"] == "2026-01-31T12:00:00Z"
        assert ledger.rows()[0].time == NOON
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_row_gives_back_what_it_was_made_of(ledger):
    ledger.add(row(ref=12, standard_error=0.0029, private_score=0.5, sha256="f" * 64))
    found = ledger.rows()[0]
    assert (found.time, found.ref, found.status) == (NOON, 12, "uploading")
    assert (found.cross_validation, found.standard_error, found.private_score) == (None, 0.0029, 0.5)
    assert found.digest == "f" * 12
    assert row().digest == ONE
    assert row(marker=f"{ONE} 3").digest == ONE


def test_a_change_touches_only_its_row_and_its_columns(ledger):
    ledger.add(row(message="first"))
    second = ledger.add(row(message="second", marker=TWO))
    ledger.change(second, status="pending", ref=7)
    first, changed = ledger.rows()
    assert (first["message"], first.status, first.ref) == ("first", "uploading", None)
    assert (changed["message"], changed.status, changed.ref) == ("second", "pending", 7)


def test_a_row_is_known_again_when_a_spreadsheet_wrote_its_time_anew(ledger):
    sent = ledger.add(row())
    ledger.path.write_text(ledger.path.read_text().replace("2026-01-31T12:00:00Z", "2026-01-31 12:00"))
    ledger.change(sent, status="complete")
    assert [one.status for one in ledger.rows()] == ["complete"]


def test_a_row_that_somebody_took_out_comes_back_with_its_change(ledger):
    gone = row(message="gone")
    ledger.add(row(marker=TWO))
    ledger.change(gone, status="failed")
    assert [(one["message"], one.status) for one in ledger.rows()] == [("", "uploading"), ("gone", "failed")]


def test_only_the_rows_of_one_competition_are_given_when_asked(ledger):
    ledger.add(row())
    ledger.add(row(competition="boats"))
    assert [one["competition"] for one in ledger.rows("boats")] == ["boats"]


def test_columns_of_others_their_order_and_how_numbers_are_written_stay(ledger):
    ledger.path.parent.mkdir()
    ledger.path.write_text(
        "my note,time,competition,file,status,ref,public_score\n"
        '"kept, as it is",2026-01-30 09:00,cars,old.csv,complete,3,0.9700\n'
    )
    ledger.add(row())
    text = ledger.path.read_text()
    heading, old, new = text.splitlines()
    missing = [column for column in COLUMNS if column not in heading.split(",")[:7]]
    assert heading.split(",")[:7] == ["my note", "time", "competition", "file", "status", "ref", "public_score"]
    assert heading.split(",")[7:] == missing
    assert old.startswith('"kept, as it is",2026-01-30 09:00,cars,old.csv,complete,3,0.9700,')
    assert new.startswith(",2026-01-31T12:00:00Z,cars,cars_a.csv,uploading,,,")
    assert ledger.rows()[0].time == datetime(2026, 1, 30, 9, tzinfo=UTC)


def test_nothing_is_written_when_nothing_changed(ledger):
    ledger.add(row())
    before = ledger.path.stat().st_mtime_ns, ledger.path.stat().st_ino
    with ledger.editing():
        pass
    assert (ledger.path.stat().st_mtime_ns, ledger.path.stat().st_ino) == before


GOOD = "time,competition,file,status,ref,public_score,marker\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("time,file\n", "line 1 lacks the columns competition, status, ref"),
        (GOOD.replace("marker", "file"), "line 1 names a column twice"),
        (GOOD + "2026-01-31,cars,a.csv\n", "line 2 has 3 values; expected 7"),
        (GOOD + '2026-01-31,cars,"a.csv\n', "line 2 is not CSV"),
        (GOOD + "\nyesterday,cars,a.csv,complete,1,0.9,\n", "line 3: time is 'yesterday'; expected a time such as"),
        (GOOD + "2026-01-31,cars,a.csv,done,1,0.9,\n", "line 2: status is 'done'; expected one of uploading, pending,"),
        (GOOD + "2026-01-31,cars,a.csv,complete,one,0.9,\n", "line 2: ref is 'one'; expected a whole number"),
        (GOOD + "2026-01-31,cars,a.csv,complete,1,nan,\n", "line 2: public_score is 'nan'; expected a number"),
        (GOOD + '2026-01-31,cars,a.csv,complete,1,"0,9",\n', "line 2: public_score is '0,9'; expected a number"),
        (GOOD + "2026-01-31,cars,a.csv,complete,1,0.9,1.2E+34\n", "line 2: marker is '1.2E+34'; expected what the"),
        (GOOD + "2026-01-31,,a.csv,complete,1,0.9,\n", "line 2: competition is ''; expected the competition's slug"),
    ],
)
def test_a_damaged_ledger_is_told_in_one_line_and_left_as_it_is(ledger, content, told):
    ledger.path.parent.mkdir()
    ledger.path.write_text(content)
    with pytest.raises(SubmissionError) as raised:
        ledger.add(row())
    message = str(raised.value)
    assert message.startswith(f"{ledger.path} {told}")
    assert "\n" not in message
    assert "nothing was changed" in message
    assert ledger.path.read_text() == content


def test_a_ledger_that_is_no_text_is_told(ledger):
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b"time\xff\xfe\n")
    with pytest.raises(SubmissionError, match="cannot be read"):
        ledger.rows()


def test_a_ledger_that_a_spreadsheet_saved_is_read(ledger):
    ledger.add(row(message="two, three"))
    ledger.path.write_bytes(b"\xef\xbb\xbf" + ledger.path.read_bytes().replace(b"\n", b"\r\n"))
    assert ledger.rows()[0]["message"] == "two, three"


ADD_MANY = """
import sys
from pathlib import Path
from podium.submission.ledger import Ledger, Row
ledger = Ledger(Path(sys.argv[1]))
for number in range(8):
    ledger.add(Row.of(time="2026-01-31", competition="cars", file=f"{sys.argv[2]}-{number}", status="failed"))
"""


def test_two_processes_that_write_at_once_lose_nothing(ledger):
    command = [sys.executable, "-c", ADD_MANY, str(ledger.path)]
    both = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "ab"]
    assert [process.communicate()[1] for process in both] == ["", ""]
    assert sorted(one["file"] for one in ledger.rows()) == [f"{name}-{number}" for name in "ab" for number in range(8)]


def test_a_ledger_that_stays_locked_is_told_and_not_written(ledger, monkeypatch):
    monkeypatch.setattr(ledgers, "PATIENCE", 2)
    monkeypatch.setattr(ledgers, "A_PAUSE", 0.0)
    script = "import sys\nfrom pathlib import Path\nfrom podium.locks import locked\n"
    script += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    command = [sys.executable, "-c", script, str(ledger.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=rf"is in use by process {holder.pid} "):
            ledger.add(row())
        holder.communicate("")
    assert ledger.rows() == []


# The marker


def test_the_marker_is_the_beginning_of_the_digest_of_the_content(tmp_path):
    (tmp_path / "a.csv").write_text("abc")
    digest = digest_of_content(tmp_path / "a.csv")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    marker = marker_for(digest, [])
    assert marker == "ba7816bf8f01"
    assert marker_in(described("two members", marker)) == marker
    assert described("two members", ONE) == "two members [podium 1a2b3c4d5e6f]"
    assert described("", ONE) == "[podium 1a2b3c4d5e6f]"


def test_a_second_sending_of_the_same_has_a_marker_of_its_own():
    assert marker_for(ONE + "0" * 52, [TWO]) == ONE
    assert marker_for(ONE + "0" * 52, [ONE, TWO]) == f"{ONE} 2"
    assert marker_for(ONE + "0" * 52, [ONE, f"{ONE} 4"]) == f"{ONE} 5"
    assert marker_in(described("again", f"{ONE} 2")) == f"{ONE} 2"


@pytest.mark.parametrize("text", ["", "no marker", "[podium 1a2b]", "[podium 1A2B3C4D5E6F]", "[podium 1a2b3c4d5e6f 0]"])
def test_what_is_no_marker_is_none(text):
    assert marker_in(text) == ""


def test_a_marker_that_a_person_copied_into_the_message_does_not_hide_the_own_one():
    assert marker_in(described(f"as [podium {TWO}] but longer", ONE)) == ONE


def test_an_output_of_a_kernel_is_known_by_version_and_name():
    third = KernelRef("ada", "cars", 3)
    assert digest_of_output(third, "a.csv") == digest_of_output(KernelRef.parse("ada/cars/v3"), "a.csv")
    assert digest_of_output(third, "a.csv") != digest_of_output(third.at(4), "a.csv")
    assert digest_of_output(third, "a.csv") != digest_of_output(third, "b.csv")


# What Kaggle tells


def test_a_row_without_an_answer_is_found_by_its_marker():
    found = merged([row(message="mine")], [AtKaggle(8, f"mine [podium {ONE}]")], "cars")
    assert len(found) == 1
    assert (found[0].ref, found[0].status, found[0].public_score, found[0]["message"]) == (8, "complete", 0.97, "mine")


def test_a_forced_second_one_is_not_taken_for_the_first():
    rows = [row(ref=8, status="complete"), row(marker=f"{ONE} 2")]
    found = merged(rows, [AtKaggle(8, f"mine [podium {ONE}]")], "cars")
    assert [one.status for one in found] == ["complete", "uploading"]


def test_submissions_made_elsewhere_are_added_by_time_with_what_is_known():
    late = AtKaggle(9, "by hand", file_name="hand.csv", date=NOON.replace(hour=14), public_score=None, status="pending")
    early = AtKaggle(5, f"from the other machine [podium {TWO}]", file_name="other.csv", date=NOON.replace(hour=9))
    own, first, second = merged([row()], [late, early], "cars")
    assert own == row()
    assert (first["file"], first["message"], first["marker"], first["sha256"]) == (
        "other.csv",
        "from the other machine",
        TWO,
        "",
    )
    assert (second["file"], second.status, second.public_score, second["message"]) == (
        "hand.csv",
        "pending",
        None,
        "by hand",
    )


def test_a_score_once_known_is_not_lost_and_one_that_appears_is_taken():
    known = row(ref=8, status="complete", public_score=0.97)
    found = merged([known], [AtKaggle(8, "", public_score=None, private_score=0.96)], "cars")[0]
    assert (found.public_score, found.private_score) == (0.97, 0.96)


def test_rows_of_another_competition_are_not_touched_even_with_the_same_marker():
    rows = [row(competition="boats")]
    found = merged(rows, [AtKaggle(8, f"[podium {ONE}]")], "cars")
    assert found[0] == rows[0]
    assert found[1]["competition"] == "cars"


def test_what_was_given_up_as_never_sent_is_taken_back_when_kaggle_has_it_after_all():
    found = merged([row(status="failed", error="broken off")], [AtKaggle(8, f"[podium {ONE}]")], "cars")
    assert [(one.status, one.ref, one["error"]) for one in found] == [("complete", 8, "")]
