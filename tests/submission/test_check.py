"""Every problem of a submission file is found, and nothing else."""

import io
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from podium.errors import DataError, SubmissionError
from podium.submission.check import find_problems, report_problems
from podium.submission.spec import SubmissionSpec
from podium.submission.write import write_submission

CLASSES = ["1", "2", "3"]
COLUMNS = ["cat", "dog", "eel"]
GOOD_LABELS = "Id,Category\na,1\nb,2\n007,3\n"
GOOD_PROBABILITIES = "Id,cat,dog,eel\na,1,0,0\nb,0.2,0.3,0.5\n007,1e-3,0.999,0\n"


@pytest.fixture
def spec(tmp_path):
    """A competition with the ids a, b and 007."""
    sample = tmp_path / "sample.csv"
    sample.write_text("Id,Category\n" + "".join(f"{row},0\n" for row in ("a", "b", "007")))
    return SubmissionSpec(sample=sample, format="label", id_column="Id", answer_columns=["Category"], labels=CLASSES)


@pytest.fixture
def problems(spec, tmp_path):
    """`problems(content, format)`: what is found in a file with this content."""

    def find(content, format="label", name="blend__20260517-120000.csv", **changes):
        if format in ("probabilities", "indicators", "numbers"):
            changes = {"answer_columns": COLUMNS} | changes
            columns = changes["answer_columns"]
            rows = "".join(f"{row}{',0' * len(columns)}\n" for row in ("a", "b", "007"))
            spec.sample.write_text(f"Id,{','.join(columns)}\n{rows}")
        path = tmp_path / "submissions" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return find_problems(path, replace(spec, format=format, **changes))

    return find


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
def test_valid_file_has_no_problems(problems, content, format):
    assert problems(content, format) == []


def test_written_submission_has_no_problems(spec, tmp_path):
    rows = 500
    probs = np.random.default_rng(0).dirichlet(np.ones(3) / 50, rows)
    spec.sample.write_text("Id,cat,dog,eel\n" + "".join(f"{row:05},0,0,0\n" for row in range(rows)))
    probabilities = replace(spec, format="probabilities", answer_columns=COLUMNS)
    ids = [f"{row:05}" for row in range(rows)]
    path = write_submission(probabilities, ids, probs, folder=tmp_path / "submissions", name="blend")
    assert find_problems(path, probabilities) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"Id,Category\na,\xff\n", "not UTF-8 text"),
        (GOOD_LABELS.encode("utf-16"), "not UTF-8 text"),
        (b"Id;Category\na;1\n", "the columns of "),
        (b'Id,Category\na,"1\n', "not a CSV (unexpected end of data"),
        (b"Id,Category\na," + b"1" * 200_000 + b"\n", "not a CSV (field larger than field limit"),
    ],
)
def test_file_that_is_not_a_csv_has_one_problem(problems, content, problem):
    (found,) = problems(content)
    assert found.startswith(problem)
    assert "expected" in found


def test_missing_file_or_a_folder_cannot_be_read(spec, tmp_path):
    for path, reason in ((tmp_path / "nowhere.csv", "No such file"), (tmp_path, "directory")):
        (problem,) = find_problems(path, spec)
        assert problem.startswith("cannot read the file")
        assert reason in problem


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Id,Class", ["missing columns: 'Category'; expected 'Id', 'Category'", "unknown columns: 'Class'; expected"]),
        ("Id,Category,more", ["unknown columns: 'more'"]),
        ("Category,Id", ["columns in the wrong order: 'Category', 'Id'; expected 'Id', 'Category'"]),
        ("Id,Category,Category", ["repeated columns: 'Category'"]),
        ("id,Category", ["missing columns: 'Id'", "unknown columns: 'id'"]),
    ],
)
def test_wrong_columns_are_reported(problems, header, expected):
    cells = {"Id": ["a", "b", "007"], "Category": ["1", "2", "3"]}
    columns = [cells.get(name, ["1", "2", "3"]) for name in header.split(",")]
    rows = [",".join(row) for row in zip(*columns, strict=True)]
    found = problems("\n".join([header, *rows]))
    assert len(found) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(found, expected, strict=True))


def test_missing_unknown_and_repeated_ids_are_reported(problems):
    assert problems("Id,Category\na,1\na,2\n7,3\n") == [
        "2 ids missing: 'b', '007'; expected all 3 of sample.csv",
        "1 ids not in the sample (first on line 4): '7'; expected ids like 'a', …",
        "1 ids more than once: 'a'; expected one row each",
    ]


def test_rows_that_do_not_fit_the_header_are_reported(problems):
    assert problems("Id,Category\na,1\nb\n007,3,3\n")[0] == (
        "2 rows (lines 3, 4) have not the 2 values of the header; expected one for each column"
    )


def test_header_without_rows_is_reported(problems):
    assert problems("Id,Category\n") == [
        "no rows after the header; expected one for each id of the sample",
        "3 ids missing: 'a', 'b', '007'; expected all 3 of sample.csv",
    ]


@pytest.mark.parametrize("empty", ["", " ", "NaN", "nan", "None", "<NA>"])
def test_empty_labels_are_reported(problems, empty):
    assert problems(f"Id,Category\na,1\nb,{empty}\n007,3\n") == [
        "line 3 has no label in 'Category'; expected one of '1', '2', '3'"
    ]


def test_class_called_nan_is_a_label(problems):
    assert problems("Id,Category\na,nan\nb,2\n007,nan\n", labels=["nan", "2"]) == []


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
def test_unknown_label_is_reported_with_the_nearest_class(problems, label, classes, hint):
    content = f"Id,Category\na,{classes[0]}\nb,{label}\n007,{label}\n"
    assert problems(content, labels=classes) == [f"2 rows (lines 3, 4) have an unknown label, {label!r}; {hint}"]


def test_many_unknown_labels_are_counted_instead_of_listed(problems):
    rows = "".join(f"x{number},wrong{number}\n" for number in range(20))
    found = [problem for problem in problems("Id,Category\n" + rows) if "unknown label" in problem]
    assert len(found) == 6
    assert found[-1].startswith("15 more unknown labels")


@pytest.mark.parametrize(("wrong", "more"), [(5, None), (6, "1 more unknown labels; expected one of '1', '2', '3'")])
def test_a_few_unknown_labels_are_all_listed(problems, wrong, more):
    rows = "".join(f"{name},wrong{number}\n" for number, name in enumerate(["a", "b", "007", "x", "y", "z"][:wrong]))
    found = problems("Id,Category\n" + rows)
    assert sum("an unknown label" in problem for problem in found) == 5
    assert found[-1] == more or (more is None and "an unknown label" in found[-1])


def test_long_lists_of_lines_and_long_texts_are_cut(problems):
    rows = "".join(f"{name},{'x' * 60}\n" for name in ("a", "b", "007"))
    assert f"3 rows (lines 2, 3, 4) have an unknown label, '{'x' * 60}'" in problems("Id,Category\n" + rows)[0]
    rows = "".join(f"{name},{'x' * 61}\n" for name in ("a", "b", "007", "y"))
    cut = f"4 rows (lines 2, 3, 4, …) have an unknown label, '{'x' * 59}…'; expected"
    assert any(problem.startswith(cut) for problem in problems("Id,Category\n" + rows))


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
def test_wrong_probabilities_are_reported_with_their_line(problems, row, problem):
    found = problems(f"Id,cat,dog,eel\na,1,0,0\nb,{row}\n007,0,1,0\n", "probabilities")
    assert found == [f"line 3 has {problem}; expected numbers from 0 to 1 that sum to 1 in each row"]


def test_each_kind_of_wrong_probability_in_a_row_is_reported(problems):
    found = problems("Id,cat,dog,eel\na,1,0,0\nb,high,,-1\n007,0,1,0\n", "probabilities")
    assert [problem.partition(";")[0] for problem in found] == [
        "line 3 has empty or NaN probabilities",
        "line 3 has probabilities that are not numbers",
        "line 3 has probabilities outside 0 to 1",
    ]


def test_constant_answer_is_reported(problems):
    assert problems("Id,Category\na,1\nb,1\n007,1\n") == [
        "all 3 rows have the label '1'; expected different predictions: was the model trained?"
    ]
    same = "Id,cat,dog,eel\na,0.5,0.5,0\nb,0.5,0.5,0\n007,0.5,0.5,0\n"
    assert problems(same, "probabilities") == [
        "all 3 rows have the same probabilities; expected different predictions: was the model trained?"
    ]


def test_one_row_or_different_mistakes_are_no_constant_answer(problems):
    assert len(problems("Id,Category\na,1\n")) == 1
    assert problems("Id,Category\na,1\nb,1\n")[1].startswith("all 2 rows have the label '1'")
    (words,) = problems("Id,cat,dog,eel\na,x,0,0\nb,y,0,0\n007,z,0,0\n", "probabilities")
    assert "probabilities that are not numbers" in words


def test_a_dry_run_may_have_a_constant_answer(problems):
    assert problems("Id,Category\na,1\nb,1\n007,1\n", name="blend_dry-run__20260517-120000.csv") == []


MULTI, NUMBERS = {"target": "multi_label"}, {"target": "regression"}
WHOLE, RANGE = NUMBERS | {"is_whole": True}, NUMBERS | {"range": (1, 100)}


@pytest.mark.parametrize(
    ("row", "format", "changes", "expected"),
    [
        ("0.9,0.9,0", "probabilities", MULTI, None),
        ("0.9,1.1,0", "probabilities", MULTI, "probabilities outside 0 to 1; expected numbers from 0 to 1"),
        ("1,0,1.0", "indicators", MULTI, None),
        ("1,0.5,1", "indicators", MULTI, "indicators not whole or outside 0 to 1; expected whole numbers from 0 to 1"),
        ("1,2,1", "indicators", MULTI, "indicators not whole or outside 0 to 1; expected whole numbers from 0 to 1"),
        ("1,,1", "indicators", MULTI, "empty or NaN indicators; expected whole numbers from 0 to 1"),
        ("-3.5,1e9,0", "numbers", NUMBERS, None),
        ("-3.5,inf,0", "numbers", NUMBERS, "numbers that are not numbers; expected numbers"),
        ("-3.5,nan,0", "numbers", NUMBERS, "empty or NaN numbers; expected numbers"),
        ("1,99.9999999,100", "numbers", RANGE, None),
        ("1,100.1,100", "numbers", RANGE, "numbers outside 1 to 100; expected numbers from 1 to 100"),
        ("1,100.0000005,50", "numbers", RANGE, None),  # rounded
        (
            "1,2.5,3",
            "numbers",
            RANGE | WHOLE,
            "numbers not whole or outside 1 to 100; expected whole numbers from 1 to 100",
        ),
        ("1,2,7", "numbers", WHOLE, None),
        ("1,2,7.5", "numbers", WHOLE, "numbers that are not whole; expected whole numbers"),
    ],
)
def test_numbers_of_each_format_are_checked(problems, row, format, changes, expected):
    found = problems(f"Id,cat,dog,eel\na,1,1,1\nb,{row}\n007,1,1,1\n", format, **changes)
    assert found == ([] if expected is None else [f"line 3 has {expected}"])


def test_one_column_of_probabilities_is_checked(problems):
    binary = {"target": "binary", "answer_columns": ["sick"]}
    assert problems("Id,sick\na,0.2\nb,0.9\n007,1\n", "probabilities", **binary) == []
    assert problems("Id,sick\na,0.2\nb,-0.9\n007,1\n", "probabilities", **binary) == [
        "line 3 has probabilities outside 0 to 1; expected numbers from 0 to 1"
    ]


@pytest.mark.parametrize(
    ("cell", "changes", "expected"),
    [
        ("1 3", {}, None),
        ("2", {}, None),
        ("1,3", {"separator": ","}, None),
        ("none", {"no_label": "none"}, None),
        ("", {"no_label": ""}, None),
        ("", {}, "no label in 'Category'"),
        ("1 4", {}, "an unknown label, '4'"),
        ("1  3", {}, "no label in 'Category'"),
        ("1|3", {}, "an unknown label, '1|3'"),
        ("1 1", {}, "a label more than once; expected each once"),
        ("3 2 1", {"most_labels": 2}, "too many labels; expected at most 2"),
        ("3 2 1", {"most_labels": 3}, None),
    ],
)
def test_several_labels_are_checked(problems, cell, changes, expected):
    found = problems(f'Id,Category\na,1\nb,"{cell}"\n007,2\n', "labels", target="multi_label", **changes)
    assert len(found) == (expected is not None)
    assert all(problem.startswith(f"line 3 has {expected}") for problem in found)


def test_partial_file_is_reported(problems):
    found = problems("Id,Category\na,1\nb,2\n", name="blend__20260517-120000.partial.csv")
    assert len(found) == 2
    assert "the file name marks a partial submission (--limit-test)" in found[0]


def test_all_problems_are_reported_at_once(problems):
    found = problems("Category,Id\n3.0,a\n,a\n9,x\n", name="blend.partial.csv")
    assert [" ".join(problem.split()[:4]) for problem in found] == [
        "the file name marks",
        "columns in the wrong",
        "2 ids missing: 'b',",
        "1 ids not in",
        "1 ids more than",
        "line 3 has no",
        "line 2 has an",
        "line 4 has an",
    ]


def test_problem_is_one_line_whatever_the_file_contains(problems):
    found = problems('"I\nd",Category\n"a\r\nb","' + "long " * 500 + '"\n')
    assert found
    assert all("\n" not in problem and "\r" not in problem and len(problem) < 300 for problem in found)


def test_a_report_of_problems_is_an_error_and_a_valid_file_is_named():
    with pytest.raises(SubmissionError, match=r"^blend\.csv must not be submitted: no rows$"):
        report_problems(Path("blend.csv"), ["no rows"], Console(file=io.StringIO()))
    with pytest.raises(SubmissionError, match=r"^blend\.csv must not be submitted:\n  no rows\n  no ids$"):
        report_problems(Path("blend.csv"), ["no rows", "no ids"], Console(file=io.StringIO()))
    for name, message in (
        ("blend.csv", "valid, ready to submit\n"),
        ("blend_dry-run.csv", "do not submit it\n"),
        ("blend_limit-60.csv", "valid, ready to submit; its models were trained on some of the rows only (--limit)\n"),
    ):
        report_problems(Path(name), [], console := Console(file=io.StringIO(), width=200))
        assert message in console.file.getvalue()


def write_old(path, content):
    """A file that was written before the one to check."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (1000, 1000))


def test_same_answers_as_an_earlier_file_are_reported_in_any_order_of_rows(problems, tmp_path):
    write_old(tmp_path / "submissions" / "first.csv", GOOD_LABELS)
    assert problems("Id,Category\n007,3\nb,2\na,1\n", name="second.csv") == [
        "same predictions as first.csv; expected a new submission"
    ]
    assert problems("Id,Category\n007,3\nb,2\na,2\n", name="second.csv") == []


def test_the_oldest_of_several_equal_files_is_named(problems, tmp_path):
    for name, time in (("a.csv", 1001), ("b.csv", 1000)):
        write_old(tmp_path / "submissions" / name, GOOD_LABELS)
        os.utime(tmp_path / "submissions" / name, (time, time))
    assert problems(GOOD_LABELS, name="c.csv") == ["same predictions as b.csv; expected a new submission"]


@pytest.mark.parametrize(("rows", "is_repeat"), [("", False), ("a,1\n", True)])
def test_a_file_without_rows_repeats_nothing(problems, tmp_path, rows, is_repeat):
    write_old(tmp_path / "submissions" / "first.csv", "Id,Category\n" + rows)
    found = problems("Id,Category\n" + rows, name="second.csv")
    assert any("same predictions" in problem for problem in found) == is_repeat


def test_only_the_later_of_equal_files_is_reported(spec, tmp_path):
    for name in ("b.csv", "a.csv"):
        write_old(tmp_path / "submissions" / name, GOOD_LABELS)
    assert find_problems(tmp_path / "submissions" / "a.csv", spec) == []
    assert "same predictions as a.csv" in find_problems(tmp_path / "submissions" / "b.csv", spec)[0]


def test_equal_probabilities_in_another_notation_are_the_same(problems, tmp_path):
    write_old(tmp_path / "submissions" / "first.csv", GOOD_PROBABILITIES)
    otherwise = "Id,cat,dog,eel\na,1.0,0.0,0\nb,0.20,0.3,5e-1\n007,0.001,0.999,0\n"
    assert "same predictions as first.csv" in problems(otherwise, "probabilities", name="second.csv")[0]


def test_other_files_of_the_folder_are_ignored(problems, tmp_path):
    folder = tmp_path / "submissions"
    contents = {
        "ledger.csv": "time,file,score\n1,a,0.5\n",
        "broken.csv": 'Id,Category\na,"1\n',
        "bytes.csv": b"\xff\0",
        "empty.csv": "",
        "shorter.csv": "Id,Category\na,1\n",
        "ragged.csv": "Id,Category\na,1\nb\n",
        "twice.csv": "Id,Category\na,1\na,1\nb,2\n007,3\n",
    }
    for name, content in contents.items():
        write_old(folder / name, content)
    (folder / "folder.csv").mkdir()
    (folder / "gone.csv").symlink_to(folder / "nowhere")
    assert problems(GOOD_LABELS) == []


@pytest.mark.slow
@pytest.mark.parametrize("format", ["label", "probabilities"])
def test_no_bytes_crash_the_check(problems, format):
    draw = random.Random(0)
    good = (GOOD_LABELS if format == "label" else GOOD_PROBABILITIES).encode()
    for _ in range(300):
        content = bytearray(good)
        for _ in range(draw.randint(0, 4)):
            place = draw.randrange(len(content))
            content[place : place + draw.randint(0, 3)] = draw.choice(
                [b"", b",", b'"', b"\n", b"\r", b"\0", b"nan", b"1e999", b"\xe2\x80\xa8", draw.randbytes(3)]
            )
        found = problems(bytes(content[: draw.randint(0, len(content))]), format)
        assert all(problem and problem.isprintable() for problem in found)
    for _ in range(300):
        assert problems(draw.randbytes(draw.randint(0, 60)), format)


def test_truncated_file_has_a_problem(problems):
    for length in range(len(GOOD_LABELS) - 1):  # without its last newline the file is still complete
        assert problems(GOOD_LABELS[:length])


def test_competition_file_that_does_not_fit_the_sample_is_an_error(problems):
    with pytest.raises(SubmissionError, match="the competition file expects Id, Class"):
        problems(GOOD_LABELS, answer_columns=["Class"])
    with pytest.raises(DataError, match="expected a column 'id'"):
        problems(GOOD_LABELS, id_column="id")
