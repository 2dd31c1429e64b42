import csv
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from podium.config.kaggle_names import KernelRef
from podium.errors import SubmissionError
from podium.files import sha256_of
from podium.submission.ledger import (
    COLUMNS,
    Ledger,
    Row,
    Submission,
    description_with,
    digest_of_output,
    marker_for,
    marker_in,
    merge,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ONE, TWO = "1a2b3c4d5e6f", "0123456789ab"


def at_kaggle(ref, description, **changes):
    """A submission as Kaggle reports it."""
    values = {
        "status": "complete",
        "file_name": "cars_a.csv",
        "date": NOON,
        "public_score": 0.97,
        "private_score": None,
    }
    return Submission(ref=ref, description=description, **(values | changes))


def row(**values):
    return Row.of(
        **{"time": NOON, "competition": "cars", "file": "cars_a.csv", "status": "uploading", "marker": ONE, **values}
    )


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "submissions" / "ledger.csv")


def test_missing_ledger_has_no_rows_and_the_first_row_creates_it(ledger):
    assert ledger.rows() == []
    assert not ledger.path.exists()
    ledger.add(row(message="two  members,\nblended", cross_validation=0.97399999, public_score=None))
    with ledger.path.open(newline="") as opened:
        heading, *lines = csv.reader(opened)
    assert tuple(heading) == COLUMNS
    assert len(lines) == 1
    cells = dict(zip(heading, lines[0], strict=True))
    assert cells["time"] == "2026-01-31T12:00:00Z"
    assert cells["message"] == "two members, blended"
    assert (cells["cross_validation"], cells["public_score"]) == ("0.97399999", "")


def test_time_without_a_zone_is_utc_in_any_local_time_zone(ledger, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        ledger.add(row(time=NOON.replace(tzinfo=None)))
        assert ledger.rows()[0]["time"] == "2026-01-31T12:00:00Z"
        assert ledger.rows()[0].time == NOON
    finally:
        monkeypatch.undo()
        time.tzset()


def test_row_keeps_its_values(ledger):
    ledger.add(row(ref=12, standard_error=0.0029, private_score=0.5, sha256="f" * 64))
    found = ledger.rows()[0]
    assert (found.time, found.ref, found.status) == (NOON, 12, "uploading")
    assert (found.cross_validation, found.standard_error, found.private_score) == (None, 0.0029, 0.5)
    assert found.digest == "f" * 12
    assert row().digest == ONE
    assert row(marker=f"{ONE} 3").digest == ONE


def test_change_affects_only_its_row_and_columns(ledger):
    ledger.add(row(message="first"))
    second = ledger.add(row(message="second", marker=TWO))
    ledger.change(second, status="pending", ref=7)
    first, changed = ledger.rows()
    assert (first["message"], first.status, first.ref) == ("first", "uploading", None)
    assert (changed["message"], changed.status, changed.ref) == ("second", "pending", 7)


def test_row_is_found_after_a_spreadsheet_changed_the_form_of_its_time(ledger):
    sent = ledger.add(row())
    ledger.path.write_text(ledger.path.read_text().replace("2026-01-31T12:00:00Z", "2026-01-31 12:00"))
    ledger.change(sent, status="complete")
    assert [one.status for one in ledger.rows()] == ["complete"]


def test_deleted_row_is_added_again_when_it_changes(ledger):
    gone = row(message="gone")
    ledger.add(row(marker=TWO))
    ledger.change(gone, status="failed")
    assert [(one["message"], one.status) for one in ledger.rows()] == [("", "uploading"), ("gone", "failed")]


def test_rows_of_one_competition(ledger):
    ledger.add(row())
    ledger.add(row(competition="boats"))
    assert [one["competition"] for one in ledger.rows("boats")] == ["boats"]


def test_other_columns_their_order_and_the_form_of_numbers_are_kept(ledger):
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


def test_file_is_not_written_if_nothing_changed(ledger):
    ledger.add(row())
    before = ledger.path.stat().st_mtime_ns, ledger.path.stat().st_ino
    with ledger.editing():
        pass
    assert (ledger.path.stat().st_mtime_ns, ledger.path.stat().st_ino) == before


GOOD = "time,competition,file,status,ref,public_score,marker\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        ("time,file\n", "line 1 has no column competition, status, ref"),
        (GOOD.replace("marker", "file"), "line 1 has a duplicate column"),
        (GOOD + "2026-01-31,cars,a.csv\n", "line 2 has 3 values; expected 7"),
        (GOOD + '2026-01-31,cars,"a.csv\n', "line 2 is not CSV"),
        (GOOD + "\nyesterday,cars,a.csv,complete,1,0.9,\n", "line 3: time is 'yesterday'; expected a time such as"),
        (GOOD + "2026-01-31,cars,a.csv,done,1,0.9,\n", "line 2: status is 'done'; expected one of uploading, pending,"),
        (GOOD + "2026-01-31,cars,a.csv,complete,one,0.9,\n", "line 2: ref is 'one'; expected an integer"),
        (GOOD + "2026-01-31,cars,a.csv,complete,1,nan,\n", "line 2: public_score is 'nan'; expected a number"),
        (GOOD + '2026-01-31,cars,a.csv,complete,1,"0,9",\n', "line 2: public_score is '0,9'; expected a number"),
        (
            GOOD + "2026-01-31,cars,a.csv,complete,1,0.9,1.2E+34\n",
            "line 2: marker is '1.2E+34'; expected the description's",
        ),
        (GOOD + "2026-01-31,,a.csv,complete,1,0.9,\n", "line 2: competition is ''; expected the competition's slug"),
    ],
)
def test_invalid_ledger_is_an_error_and_is_not_changed(ledger, content, problem):
    ledger.path.parent.mkdir()
    ledger.path.write_text(content)
    with pytest.raises(SubmissionError) as raised:
        ledger.add(row())
    message = str(raised.value)
    assert message.startswith(f"{ledger.path} {problem}")
    assert "\n" not in message
    assert "nothing was changed" in message
    assert ledger.path.read_text() == content


def test_ledger_that_is_not_text_is_an_error(ledger):
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b"time\xff\xfe\n")
    with pytest.raises(SubmissionError, match="cannot be read"):
        ledger.rows()


def test_ledger_saved_by_a_spreadsheet_is_read(ledger):
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


def test_two_processes_that_write_at_once_lose_no_row(ledger):
    command = [sys.executable, "-c", ADD_MANY, str(ledger.path)]
    both = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "ab"]
    assert [process.communicate()[1] for process in both] == ["", ""]
    assert sorted(one["file"] for one in ledger.rows()) == [f"{name}-{number}" for name in "ab" for number in range(8)]


# The marker


def test_marker_is_the_start_of_the_content_digest(tmp_path):
    (tmp_path / "a.csv").write_text("abc")
    digest = sha256_of(tmp_path / "a.csv")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    marker = marker_for(digest, [])
    assert marker == "ba7816bf8f01"
    assert marker_in(description_with("two members", marker)) == marker
    assert description_with("two members", ONE) == "two members [podium 1a2b3c4d5e6f]"
    assert description_with("", ONE) == "[podium 1a2b3c4d5e6f]"


def test_sending_the_same_content_again_has_another_marker():
    assert marker_for(ONE + "0" * 52, [TWO]) == ONE
    assert marker_for(ONE + "0" * 52, [ONE, TWO]) == f"{ONE} 2"
    assert marker_for(ONE + "0" * 52, [ONE, f"{ONE} 4"]) == f"{ONE} 5"
    assert marker_in(description_with("again", f"{ONE} 2")) == f"{ONE} 2"


@pytest.mark.parametrize("text", ["", "no marker", "[podium 1a2b]", "[podium 1A2B3C4D5E6F]", "[podium 1a2b3c4d5e6f 0]"])
def test_text_without_a_valid_marker_has_none(text):
    assert marker_in(text) == ""


def test_marker_in_the_message_does_not_hide_the_real_one():
    assert marker_in(description_with(f"as [podium {TWO}] but longer", ONE)) == ONE


def test_output_of_a_kernel_is_identified_by_version_and_name():
    third = KernelRef("ada", "cars", 3)
    assert digest_of_output(third, "a.csv") == digest_of_output(KernelRef.parse("ada/cars/v3"), "a.csv")
    assert digest_of_output(third, "a.csv") != digest_of_output(third.at(4), "a.csv")
    assert digest_of_output(third, "a.csv") != digest_of_output(third, "b.csv")


# Updates from Kaggle


def test_row_without_a_response_is_found_by_its_marker():
    found = merge([row(message="mine")], [at_kaggle(8, f"mine [podium {ONE}]")], "cars")
    assert len(found) == 1
    assert (found[0].ref, found[0].status, found[0].public_score, found[0]["message"]) == (8, "complete", 0.97, "mine")


def test_second_forced_submission_is_not_confused_with_the_first():
    rows = [row(ref=8, status="complete"), row(marker=f"{ONE} 2")]
    found = merge(rows, [at_kaggle(8, f"mine [podium {ONE}]")], "cars")
    assert [one.status for one in found] == ["complete", "uploading"]


def test_submissions_made_elsewhere_are_added_ordered_by_time():
    late = at_kaggle(
        9, "by hand", file_name="hand.csv", date=NOON.replace(hour=14), public_score=None, status="pending"
    )
    early = at_kaggle(5, f"from the other machine [podium {TWO}]", file_name="other.csv", date=NOON.replace(hour=9))
    own, first, second = merge([row()], [late, early], "cars")
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


def test_known_scores_are_kept_and_new_ones_added():
    known = row(ref=8, status="complete", public_score=0.97)
    found = merge([known], [at_kaggle(8, "", public_score=None, private_score=0.96)], "cars")[0]
    assert (found.public_score, found.private_score) == (0.97, 0.96)


def test_rows_of_another_competition_are_not_changed_even_with_the_same_marker():
    rows = [row(competition="boats")]
    found = merge(rows, [at_kaggle(8, f"[podium {ONE}]")], "cars")
    assert found[0] == rows[0]
    assert found[1]["competition"] == "cars"


def test_failed_row_is_corrected_if_kaggle_has_the_submission():
    found = merge([row(status="failed", error="broken off")], [at_kaggle(8, f"[podium {ONE}]")], "cars")
    assert [(one.status, one.ref, one["error"]) for one in found] == [("complete", 8, "")]
