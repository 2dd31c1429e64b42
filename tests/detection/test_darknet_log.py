"""Darknet logs: lines of both darknets, complete, truncated or repeated."""

import math

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from podium.cli.detect import import_log
from podium.detection.darknet_log import LOG_COLUMNS, read_darknet_log, write_log_table
from podium.errors import DataError

NEW = (
    "v3 (mse loss, Normalizer: (iou: 0.75, cls: 1.00) Region {layer} Avg (IOU: {iou}, GIOU: 0.2), Class: 0.9, Obj: 0.5,"
    " No Obj: 0.4, .5R: 1.0, .75R: 0.0, count: {count}, class_loss = 2.4, iou_loss = 1.9, total_loss = 4.3"
)
NEWER = (
    "v3 (iou loss, Normalizer: (iou: 0.05, obj: 4.00, cls: 0.50) Region {layer} Avg (IOU: {iou}), count: {count},"
    " class_loss = 3.0, iou_loss = -2.4, total_loss = 0.6"
)
OLD = "Region {layer} Avg IOU: {iou}, Class: 0.9, Obj: 0.5, No Obj: 0.4, .5R: 1.0, .75R: 0.0,  count: {count}"
OLDEST = "Region Avg IOU: {iou}, Class: 0.9, Obj: 0.5, No Obj: 0.004, Avg Recall: 1.0,  count: {count}"  # one layer


def line(iteration, loss=1.5, average=2.5, word="avg loss", end=", 11.2 hours left"):
    return f" {iteration}: {loss:f}, {average:f} {word}, 0.001000 rate, 3.214000 seconds, {64 * iteration} images{end}"


def region(form, iou, count, layer=82):
    return form.format(iou=iou, count=count, layer=layer)


def read(tmp_path, *lines):
    (tmp_path / "train.log").write_text("\n".join(lines))
    return read_darknet_log(tmp_path / "train.log")


def iterations(table):
    return table["iteration"].tolist()


def test_each_iteration_is_a_row(tmp_path):
    table = read(
        tmp_path,
        "Learning Rate: 0.001, Momentum: 0.9, Decay: 0.0005",
        "Loaded: 0.000028 seconds",
        region(NEW, "0.800000", 3, 82), region(NEW, "0.400000", 1, 94), region(NEW, "-nan", 0, 106),
        "", " (next mAP calculation at 1100 iterations) ", " 1042: 1.837529, 2.113820 avg loss, 0.001000 rate, 3.214"
        " seconds, 66688 images, 11.2 hours left",
    )  # fmt: skip
    assert list(table.columns) == list(LOG_COLUMNS)
    row = table.iloc[0]
    assert (row["iteration"], row["loss"], row["average_loss"], row["rate"]) == (1042, 1.837529, 2.11382, 0.001)
    assert row["iou"] == pytest.approx((3 * 0.8 + 1 * 0.4) / 4)
    assert math.isnan(row["map50"])


@pytest.mark.parametrize("form", [NEW, NEWER, OLD, OLDEST])
def test_regions_of_both_darknets_are_read_without_empty_ones(tmp_path, form):
    table = read(
        tmp_path,
        region(form, "0.6", 2), region(form, "-nan", 0), region(form, "0.000000", 0), line(1),
        region(form, "nan", 0), line(2),
        region(form, "0.5", 7), line(3, word="avg", end=""),
    )  # fmt: skip
    assert iterations(table) == [1, 2, 3]
    assert np.array_equal(table["iou"], [0.6, np.nan, 0.5], equal_nan=True)


@pytest.mark.parametrize(
    "message",
    [
        " mean average precision (mAP@0.5) = 0.5312, or 53.12 % ",
        " mean average precision (mAP@0.50) = 0.531200, or 53.12 % ",
        " mean average precision (mAP) = 0.531200, or 53.12 % ",
        " mean_average_precision (mAP@0.5) = 0.531200 ",
    ],
)
def test_map_belongs_to_the_previous_iteration(tmp_path, message):
    table = read(tmp_path, line(99), line(100), " calculation mAP (mean average precision)...", message, line(101))
    assert np.array_equal(table["map50"], [np.nan, 0.5312, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    "message",
    [
        " mean average precision (mAP@0.75) = 0.5312, or 53.12 % ",
        " Last accuracy mAP@0.5 = 53.12 %, best = 53.12 % ",
        " (next mAP calculation at 200 iterations) ",
        " mean_average_precision (mAP@0.5) = 0.53",
        "class_id = 0, name = Boat, ap = 53.12%   \t (TP = 12, FP = 3) ",
    ],
)
def test_other_lines_with_map_are_ignored(tmp_path, message):
    assert read(tmp_path, line(99), line(100), message)["map50"].isna().all()


def test_truncated_lines_are_ignored(tmp_path):
    whole = line(7)
    cut = [whole[:end] for end in range(len(whole) - len(" images, 11.2 hours left") + 1)]
    assert iterations(read(tmp_path, line(6), *cut, line(8))) == [6, 8]
    half = region(NEW, "0.9", 3)
    cut = [half[:end] for end in range(half.index("count: ") + len("count: ") + 1)]
    assert read(tmp_path, *cut, region(NEW, "0.5", 3), line(1))["iou"].tolist() == [0.5]


def test_joined_lines_are_separated(tmp_path):
    table = read(
        tmp_path,
        "Loaded: 0.000028 seconds" + line(5),
        region(OLD, "0.5", 1)[:30] + region(OLD, "0.7", 1) + region(OLD, "0.9", 1),
        "\033]2;6/4000: loss=0.1 map=0.50 best=0.52 hours left=1.5\007" + line(6) + line(7) + "Loaded: 0.1 seconds",
    )
    assert iterations(table) == [5, 6, 7]
    assert table["iou"][1] == pytest.approx(0.8)


def test_truncated_iteration_number_is_ignored(tmp_path):
    lines = [line(number) for number in range(1040, 1046)]
    lines[2] = lines[2].replace("1042", "42")
    assert iterations(read(tmp_path, *lines)) == [1040, 1041, 1043, 1044, 1045]
    assert iterations(read(tmp_path, *lines[:3])) == [1040, 1041]


def test_resumed_training_replaces_later_iterations(tmp_path):
    first = [line(number, loss=1.0) for number in range(1, 8)]
    again = [line(number, loss=2.0) for number in range(4, 6)]
    lost = region(NEW, "0.1", 5)  # of the iteration that was broken off
    table = read(tmp_path, *first, lost, "Learning Rate: 0.001, Momentum: 0.9", region(NEW, "0.7", 1), *again)
    assert iterations(table) == [1, 2, 3, 4, 5]
    assert table["loss"].tolist() == [1, 1, 1, 2, 2]
    assert table["iou"][3] == 0.7


def test_repeated_lines_are_one_iteration(tmp_path):
    lines = [region(NEW, "0.5", 1), line(1), line(1), "mean average precision (mAP@0.50) = 0.25, or 25.00 %", line(2)]
    table = read(tmp_path, *lines)
    assert iterations(table) == [1, 2]
    assert (table["iou"][0], table["map50"][0]) == (0.5, 0.25)
    blocks = [line(1), line(2), line(1), line(2), line(3)]
    assert iterations(read(tmp_path, *blocks)) == [1, 2, 3]


def test_nan_and_infinite_losses_are_kept(tmp_path):
    given = ["-nan", "nan", "inf", "-1.#IND00", "1.#INF00", "-nan(ind)", "0.250000", "-1.#INFX"]
    rows = [line(1 + place).replace("1.500000", loss) for place, loss in enumerate(given)]
    losses = read(tmp_path, *rows)["loss"].tolist()
    nan = math.nan
    assert np.array_equal(losses, [nan, nan, math.inf, nan, math.inf, nan, 0.25, -math.inf], equal_nan=True)


def test_utf16_log_of_powershell_is_read(tmp_path):
    (tmp_path / "train.log").write_bytes(f"{line(1)}\r\n{line(2)}\r\n".encode("utf-16"))
    assert iterations(read_darknet_log(tmp_path / "train.log")) == [1, 2]


@pytest.mark.parametrize(
    "content", [b"", b"epoch,loss\n1,0.5\n", bytes(range(256)) * 20, b"1042: 1.8, 2.1 avg loss, 0.001 rate\n"]
)
def test_other_file_is_reported_in_one_line(tmp_path, content):
    (tmp_path / "train.log").write_bytes(content)
    with pytest.raises(DataError, match=r"train.log has no iteration of darknet") as error:
        read_darknet_log(tmp_path / "train.log")
    assert "\n" not in str(error.value)


def test_missing_log_is_reported(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: No such file or directory"):
        read_darknet_log(tmp_path / "train.log")
    with pytest.raises(DataError, match=r"cannot be read: Is a directory"):
        read_darknet_log(tmp_path)


def test_table_is_written_as_csv(tmp_path):
    write_log_table(tmp_path / "log.csv", read(tmp_path, region(NEW, "0.5", 1), line(1), line(2, loss=float("nan"))))
    assert (tmp_path / "log.csv").read_text().splitlines()[:2] == [",".join(LOG_COLUMNS), "1,1.5,2.5,0.001,0.5,"]


# The command


def command():
    app = typer.Typer()
    app.command("import-log")(import_log)
    return app


def test_command_writes_table_and_charts(tmp_path):
    log = tmp_path / "boats.log"
    log.write_text(
        "\n".join(
            f"{region(NEW, f'{0.5 + number / 100:.3f}', 2)}\n{line(number, 9 / number, 10 / number)}"
            for number in range(1, 31)
        )
        + "\n mean average precision (mAP@0.50) = 0.531200, or 53.12 % \n"
    )
    done = CliRunner().invoke(command(), [str(log), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["iou_ap.png", "log.csv", "loss.png"]
    message = done.stdout.splitlines()
    assert message[0] == "boats.log: 30 iterations, 1 to 30; final average loss 0.333, lowest 0.333 (iteration 30)"
    assert (
        message[1] == "mean IoU 0.800 at iteration 30, the last of 30; mAP@0.5 0.531 at iteration 30, the highest of 1"
    )
    assert message[2:] == [str(tmp_path / "out" / name) for name in ("log.csv", "loss.png", "iou_ap.png")]


def test_command_draws_no_chart_without_values(tmp_path):
    (tmp_path / "boats.log").write_text(line(1))
    done = CliRunner().invoke(command(), [str(tmp_path / "boats.log"), "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["log.csv", "loss.png"]
    assert "mean IoU" not in done.stdout


def test_command_writes_nothing_for_another_file(tmp_path):
    (tmp_path / "boats.log").write_text("hello\n")
    done = CliRunner().invoke(command(), [str(tmp_path / "boats.log"), "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, DataError)
    assert not (tmp_path / "out").exists()
