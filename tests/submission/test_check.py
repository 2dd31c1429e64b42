import os
import random

import numpy as np
import pytest

from podium.errors import DataError, SubmissionError
from podium.submission.check import check_submission
from podium.submission.write import write_submission

CLASSES = ["1", "2", "3"]
COLUMNS = {"1": "cat", "2": "dog", "3": "eel"}
GOOD_LABELS = "Id,Category\na,1\nb,2\n007,3\n"
GOOD_PROBABILITIES = "Id,cat,dog,eel\na,1,0,0\nb,0.2,0.3,0.5\n007,1e-3,0.999,0\n"


@pytest.fixture
def problems(tmp_path):
    """The problems of a file with this content, beside a sample of the ids a, b and 007."""

    def checked(content, format="label", name="blend__20260517-120000.csv", **changes):
        header = "Id,Category\n" if format == "label" else "Id,cat,dog,eel\n"
        values = ",0" if format == "label" else ",0,0,0"
        sample = tmp_path / "sample.csv"
        sample.write_text(header + "".join(f"{row}{values}\n" for row in ("a", "b", "007")))
        path = tmp_path / "submissions" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        settings = {"id_column": "Id", "label_column": "Category", "columns": COLUMNS, "classes": CLASSES}
        return check_submission(path, sample=sample, format=format, **{**settings, **changes})

    return checked


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (GOOD_LABELS, "label"),
        (GOOD_PROBABILITIES, "probabilities"),
        ("Id,Category\n007,3\nb,2\na,1\n", "label"),  # Kaggle reads rows in any order
        ("\ufeffId,Category\r\na,1\r\nb,2\r\n007,3\r\n\r\n", "label"),
        ('"Id","Category"\n"a","1"\n"b","2"\n"007","3"', "label"),
        ("Id,cat,dog,eel\na,0.9995,0,0\nb,0.2,0.3,0.5\n007,1,0,0\n", "probabilities"),
    ],
)
def test_a_good_file_has_no_problems(problems, content, format):
    assert problems(content, format) == []


def test_what_podium_writes_has_no_problems(tmp_path):
    rows = 500
    probs = np.random.default_rng(0).dirichlet(np.ones(3) / 50, rows)
    sample = tmp_path / "sample.csv"
    sample.write_text("Id,cat,dog,eel\n" + "".join(f"{row:05},0,0,0\n" for row in range(rows)))
    shared = {
        "sample": sample, "format": "probabilities", "id_column": "Id", "label_column": None, "columns": COLUMNS,
    }  # fmt: skip
    ids = [f"{row:05}" for row in range(rows)]
    path = write_submission(ids, CLASSES, probs, folder=tmp_path / "submissions", name="blend", **shared)
    assert check_submission(path, classes=CLASSES, **shared) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"Id,Category\na,\xff\n", "byte 15 is not UTF-8"),
        (GOOD_LABELS.encode("utf-16"), "byte 1 is not UTF-8"),
        (b"Id,Category\na,\0\n", "there are zero bytes in the file"),
        (b'Id,Category\na,"1\n', "not a CSV (unexpected end of data"),
        (b"Id,Category\na," + b"1" * 200_000 + b"\n", "not a CSV (field larger than field limit"),
    ],
)
def test_a_file_that_is_no_csv_is_told_and_nothing_more(problems, content, problem):
    (told,) = problems(content)
    assert told.startswith(problem)
    assert "expected" in told


def test_a_file_that_is_not_there_or_a_folder_is_told(problems, tmp_path):
    problems(GOOD_LABELS)
    for path, reason in ((tmp_path / "nowhere.csv", "No such file"), (tmp_path / "submissions", "directory")):
        (told,) = check_submission(
            path, sample=tmp_path / "sample.csv", id_column="Id", label_column="Category", format="label",
            classes=CLASSES, columns={},
        )  # fmt: skip
        assert "cannot be read" in told
        assert reason in told


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Id,Class", ["missing columns: 'Category'; expected 'Id', 'Category'", "extra columns: 'Class'; expected"]),
        ("Id,Category,more", ["extra columns: 'more'"]),
        ("Category,Id", ["columns in the wrong order: 'Category', 'Id'; expected 'Id', 'Category'"]),
        ("Id,Category,Category", ["doubled columns: 'Category'"]),
        ("id,Category", ["missing columns: 'Id'", "extra columns: 'id'"]),
    ],
)
def test_wrong_columns_are_told(problems, header, expected):
    cells = {"Id": ["a", "b", "007"], "Category": ["1", "2", "3"]}
    columns = [cells.get(name, ["1", "2", "3"]) for name in header.split(",")]
    rows = [",".join(row) for row in zip(*columns, strict=True)]
    told = problems("\n".join([header, *rows]))
    assert len(told) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(told, expected, strict=True))


def test_ids_missing_extra_and_doubled_are_told_each(problems):
    assert problems("Id,Category\na,1\na,2\n7,3\n") == [
        "2 ids missing: 'b', '007'; expected all 3 of sample.csv",
        "1 ids not in the sample (first on line 4): '7'; expected ids like 'a', …",
        "1 ids more than once: 'a'; expected one row each",
    ]


def test_rows_that_do_not_fit_the_header_are_told(problems):
    assert problems("Id,Category\na,1\nb\n007,3,3\n")[0] == (
        "2 rows (lines 3, 4) have not the 2 values the header announces; expected one a column"
    )


def test_a_header_without_rows_is_told(problems):
    assert problems("Id,Category\n") == [
        "there are no rows under the header; expected one for each id of the sample",
        "3 ids missing: 'a', 'b', '007'; expected all 3 of sample.csv",
    ]


@pytest.mark.parametrize("empty", ["", " ", "NaN", "nan", "None", "<NA>"])
def test_empty_labels_are_told(problems, empty):
    assert problems(f"Id,Category\na,1\nb,{empty}\n007,3\n") == [
        "line 3 has no label in 'Category'; expected one of '1', '2', '3'"
    ]


def test_a_class_called_nan_is_a_label(problems):
    assert problems("Id,Category\na,nan\nb,2\n007,nan\n", classes=["nan", "2"]) == []


@pytest.mark.parametrize(
    ("label", "classes", "hint"),
    [
        ("3.0", ["1", "3"], "did you mean '3'?"),
        ("03", ["1", "3"], "did you mean '3'?"),
        (" 3", ["1", "3"], "did you mean '3'?"),
        ("audi", ["Audi", "BMW"], "did you mean 'Audi'?"),
        ("Mercedez", ["Audi", "Mercedes"], "did you mean 'Mercedes'?"),
        ("zebra", ["Audi", "BMW"], "expected one of 'Audi', 'BMW'"),
    ],
)
def test_a_label_that_does_not_exist_is_told_with_the_one_meant(problems, label, classes, hint):
    content = f"Id,Category\na,{classes[0]}\nb,{label}\n007,{label}\n"
    assert problems(content, classes=classes) == [
        f"2 rows (lines 3, 4) have a label that does not exist, {label!r}; {hint}"
    ]


def test_many_wrong_labels_are_counted_and_not_all_listed(problems):
    rows = "".join(f"x{number},wrong{number}\n" for number in range(20))
    told = [problem for problem in problems("Id,Category\n" + rows) if "exist" in problem]
    assert len(told) == 6
    assert told[-1].startswith("15 more labels")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("high,0,0", "probabilities that are not numbers"),
        ("1_0,0,0", "probabilities that are not numbers"),
        ("inf,0,0", "probabilities that are not numbers"),
        ("nan,0,1", "empty or NaN probabilities"),
        (",0,1", "empty or NaN probabilities"),
        ("1.5,-0.5,0", "probabilities outside 0 to 1"),
        ("0.5,0.5,0.1", "probabilities that do not sum to 1"),
        ("0.5,0.498,0", "probabilities that do not sum to 1"),
    ],
)
def test_wrong_probabilities_are_told_with_their_line(problems, row, problem):
    told = problems(f"Id,cat,dog,eel\na,1,0,0\nb,{row}\n007,0,1,0\n", "probabilities")
    assert told == [f"line 3 has {problem}; expected numbers from 0 to 1 that sum to 1 in each row"]


def test_a_constant_answer_is_told(problems):
    assert problems("Id,Category\na,1\nb,1\n007,1\n") == [
        "all 3 rows have the label '1'; expected answers that differ: was the model trained?"
    ]
    same = "Id,cat,dog,eel\na,0.5,0.5,0\nb,0.5,0.5,0\n007,0.5,0.5,0\n"
    assert problems(same, "probabilities") == [
        "all 3 rows have the same probabilities; expected answers that differ: was the model trained?"
    ]


def test_a_partial_file_is_told(problems):
    told = problems("Id,Category\na,1\nb,2\n", name="blend__20260517-120000.partial.csv")
    assert len(told) == 2
    assert "partial" in told[0]
    assert "--limit-test" in told[0]


def test_all_problems_are_told_at_once(problems):
    told = problems("Category,Id\n3.0,a\n,a\n9,x\n", name="blend.partial.csv")
    assert [" ".join(problem.split()[:4]) for problem in told] == [
        "the name says it",
        "columns in the wrong",
        "2 ids missing: 'b',",
        "1 ids not in",
        "1 ids more than",
        "line 3 has no",
        "line 2 has a",
        "line 4 has a",
    ]


def test_a_problem_is_one_line_whatever_the_file_holds(problems):
    told = problems('"I\nd",Category\n"a\r\nb","' + "long " * 500 + '"\n')
    assert told
    assert all("\n" not in problem and "\r" not in problem and len(problem) < 300 for problem in told)


def test_answers_sent_before_are_told_whatever_the_order_of_rows(problems, tmp_path):
    problems(GOOD_LABELS, name="first.csv")
    os.utime(tmp_path / "submissions" / "first.csv", (1000, 1000))
    repeated = "Id,Category\n007,3\nb,2\na,1\n"
    assert problems(repeated, name="second.csv") == [
        "the answers equal those of first.csv; expected a new submission: send that one or neither"
    ]
    assert problems("Id,Category\n007,3\nb,2\na,2\n", name="second.csv") == []


def test_the_first_of_equal_files_has_no_problem_and_names_decide_between_equal_times(problems, tmp_path):
    for name in ("b.csv", "a.csv"):
        problems(GOOD_LABELS, name=name)
    for name in ("b.csv", "a.csv"):
        os.utime(tmp_path / "submissions" / name, (1000, 1000))
    shared = {
        "sample": tmp_path / "sample.csv", "id_column": "Id", "label_column": "Category", "format": "label",
        "classes": CLASSES, "columns": {},
    }  # fmt: skip
    assert check_submission(tmp_path / "submissions" / "a.csv", **shared) == []
    assert "equal those of a.csv" in check_submission(tmp_path / "submissions" / "b.csv", **shared)[0]


def test_equal_probabilities_written_otherwise_are_equal(problems, tmp_path):
    problems(GOOD_PROBABILITIES, "probabilities", name="first.csv")
    os.utime(tmp_path / "submissions" / "first.csv", (1000, 1000))
    otherwise = "Id,cat,dog,eel\na,1.0,0.0,0\nb,0.20,0.3,5e-1\n007,0.001,0.999,0\n"
    assert "equal those of first.csv" in problems(otherwise, "probabilities", name="second.csv")[0]


def test_neighbours_that_are_no_submissions_are_ignored(problems, tmp_path):
    folder = tmp_path / "submissions"
    folder.mkdir()
    contents = {
        "ledger.csv": b"time,file,score\n1,a,0.5\n",
        "broken.csv": b'Id,Category\na,"1\n',
        "bytes.csv": b"\xff\0",
        "empty.csv": b"",
        "shorter.csv": b"Id,Category\na,1\n",
        "ragged.csv": b"Id,Category\na,1\nb\n",
        "twice.csv": b"Id,Category\na,1\na,1\nb,2\n007,3\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        os.utime(folder / name, (1000, 1000))
    (folder / "folder.csv").mkdir()
    (folder / "gone.csv").symlink_to(folder / "nowhere")
    assert problems(GOOD_LABELS) == []


@pytest.mark.parametrize("format", ["label", "probabilities"])
def test_no_bytes_bring_the_check_down(problems, format):
    draw = random.Random(0)
    good = (GOOD_LABELS if format == "label" else GOOD_PROBABILITIES).encode()
    for _ in range(300):
        content = bytearray(good)
        for _ in range(draw.randint(0, 4)):
            place = draw.randrange(len(content))
            content[place : place + draw.randint(0, 3)] = draw.choice(
                [b"", b",", b'"', b"\n", b"\r", b"\0", b"nan", b"1e999", b"\xe2\x80\xa8", draw.randbytes(3)]
            )
        told = problems(bytes(content[: draw.randint(0, len(content))]), format)
        assert all(problem and problem.isprintable() for problem in told)
    for _ in range(300):
        assert problems(draw.randbytes(draw.randint(0, 60)), format)


def test_a_cut_file_always_has_a_problem(problems):
    # Without its last newline alone the file is still whole.
    for length in range(len(GOOD_LABELS) - 1):
        assert problems(GOOD_LABELS[:length])


def test_what_is_not_the_submissions_problem_is_raised(problems, tmp_path):
    with pytest.raises(SubmissionError, match="the competition file says Id, Class"):
        problems(GOOD_LABELS, label_column="Class")
    with pytest.raises(DataError, match="expected a column 'id'"):
        problems(GOOD_LABELS, id_column="id")
