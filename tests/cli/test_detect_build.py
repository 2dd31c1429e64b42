"""`podium detect build` and `export` with a small download of Open Images, and their errors."""

import csv
import io
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from podium.data.images import read_image
from podium.demo.competition import draw_competition
from podium.detection.dataset import read_dataset
from podium.signals import StopCondition

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "detectors"
CODES = {"Boat": "/m/019jd", "Canoe": "/m/0ph39", "Car": "/m/0k4j"}
BOXES_HEADER = [
    "ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax",
    "IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside",
]  # fmt: skip
IMAGES_HEADER = [
    "ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL", "Author", "Title",
    "OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation",
]  # fmt: skip
WIDTH, HEIGHT = 80, 60
MD5 = "rL0Y20zC+Fzt72VPzMSk2A=="


def encoded(box=None, way=None, seed=0):
    """A JPEG of noise with a white box; with a tag that says this way of turning."""
    image = np.random.default_rng(seed).integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if box:
        image[box[1] : box[3], box[0] : box[2]] = 255
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    if way is None:
        return content
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, way, 0, 0)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]


class Download:
    """Files of Open Images in a folder, and a detector file beside it."""

    def __init__(self, root):
        self.root, self.folder = root, root / "openimages"
        (self.folder / "images").mkdir(parents=True)
        self.boxes, self.images = [], []
        self.classes = dict(CODES)
        self.detector(classes=["Boat", "Canoe"])

    def add(self, id_, *boxes, content=None, rotation="0.0", url="", is_there=True):
        """An image with boxes, each a class, corners in pixels, and flags such as group."""
        for class_, corners, *flags in boxes:
            left, top, right, bottom = corners
            shares = [left / WIDTH, right / WIDTH, top / HEIGHT, bottom / HEIGHT]
            message = [int(flag in flags) for flag in ("occluded", "truncated", "group", "depiction", "inside")]
            self.boxes.append([id_, "xclick", CODES[class_], 1, *shares, *message])
        self.images.append([id_, "train", url, "", "", "", "Ada", "At sea, again", "", "", "", rotation])
        if is_there:
            self.image(id_).write_bytes(content or encoded(boxes[0][1] if boxes else None))
        return self

    def many(self, count):
        for number in range(count):
            self.add(f"{number:016x}", ("Boat" if number % 3 else "Canoe", (10, 10, 30 + number % 9, 40)))
        return self

    def image(self, id_):
        return self.folder / "images" / f"{id_}.jpg"

    def detector(self, **keys):
        self.keys = {"slug": "boats", "source": {"kind": "openimages"}, **keys}
        self.config = self.root / "boats.yaml"
        self.config.write_text(yaml.safe_dump(self.keys))
        return self

    def change(self, **keys):
        return self.detector(**{**self.keys, **keys})

    def write(self):
        """All three tables, but what holds already what it should is left as it is."""
        for name, rows in (
            ("oidv6-train-annotations-bbox.csv", [BOXES_HEADER, *self.boxes]),
            ("train-images-boxable-with-rotation.csv", [IMAGES_HEADER, *self.images]),
            ("class-descriptions-boxable.csv", [(code, name) for name, code in self.classes.items()]),
        ):
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            if not (self.folder / name).is_file() or (self.folder / name).read_text() != text.getvalue():
                (self.folder / name).write_text(text.getvalue())
        return self


@pytest.fixture
def download(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Download(tmp_path)


@pytest.fixture
def build(podium, download):
    """`build(…)`: exit code, stdout and stderr of `podium detect build` on the download, written before."""

    def built(*arguments):
        download.write()
        return podium("detect", "build", download.config.name, "--data", "openimages", *arguments)

    return built


@pytest.fixture
def made():
    """`made()`: the set, once it is built."""
    return lambda folder="runs/boxes/boats": read_dataset(Path(folder))


def white_in(path):
    """The corners of what is white in an image."""
    rows, columns = np.nonzero(read_image(path).min(axis=2) > 170)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def corners_of(dataset):
    return dataset.boxes[["left", "top", "right", "bottom"]].to_numpy().round(3).tolist()


# Build


def test_dataset_is_built_and_summarized(download, build, made):
    download.many(40).add("f1", ("Car", (1, 1, 9, 9)))
    code, out, err = build()
    dataset = made()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("runs/boxes/boats: 40 images, 40 boxes, in ")
    train = dataset.images["split"].eq("train").sum()
    assert lines[1].split()[:6] == ["train", str(train), "images,", str(train), "boxes:", "Boat"]
    assert [line.split()[0] for line in lines[1:4]] == ["train", "validation", "test"]
    assert lines[4] == "  cleaning: 40 of 40 boxes kept"
    assert len(lines) == 5
    assert dataset.classes == ["Boat", "Canoe"]
    assert dataset.boxes["class"].value_counts().to_dict() == {"Boat": 26, "Canoe": 14}
    assert corners_of(dataset)[1] == [10.0, 10.0, 31.0, 40.0]
    assert dataset.images.iloc[0][["file", "width", "height"]].to_list() == ["images/0000000000000000.jpg", 80, 60]


def test_class_may_combine_several_names(download, build, made):
    download.many(12).change(classes={"vessel": ["Boat", "Canoe"]})
    assert build()[0] == 0
    assert made().boxes["class"].unique().tolist() == ["vessel"]


def test_unchanged_dataset_is_not_built_again(download, build):
    download.many(12)
    build()
    index = Path("runs/boxes/boats/index.json")
    before = index.stat().st_mtime_ns
    line = "runs/boxes/boats: 12 images, 12 boxes; nothing has changed\n"
    assert build() == (0, line, "")
    assert index.stat().st_mtime_ns == before


def test_changed_setting_table_or_image_builds_again(download, build):
    download.many(12).add("f1", ("Boat", (1, 1, 30, 30)), is_there=False)
    assert "12 images, 12 boxes, in" in build()[1]
    download.image("f1").write_bytes(encoded())
    assert "13 images, 13 boxes, in" in build()[1]
    assert "13 images, 13 boxes, in" in build("--set", "split.seed=7")[1]
    download.add("f2", ("Boat", (1, 1, 30, 30)))
    assert "14 images, 14 boxes, in" in build("--set", "split.seed=7")[1]


def test_split_does_not_change_when_images_are_added(download, build, made):
    download.many(30)
    build()
    before = made().images.set_index("id")["split"]
    download.add("ffff", ("Boat", (1, 1, 30, 30))).add("0a0a", ("Boat", (1, 1, 30, 30)))
    build()
    assert made().images.set_index("id")["split"][before.index].equals(before)


def test_flags_decide_which_boxes_are_kept(download, build, made):
    download.many(9).add("f1", ("Boat", (1, 1, 20, 20), "group"), ("Boat", (30, 1, 50, 20), "occluded"))
    download.add("f2", ("Boat", (1, 1, 20, 20), "depiction")).add("f3", ("Boat", (1, 1, 20, 20), "group", "inside"))
    out = build()[1]
    assert "  excluded by keep: 2 group, 1 depiction boxes\n" in out
    assert "  left out: 2 images, none of whose boxes was kept\n" in out
    boxes = made().boxes
    assert boxes[boxes["id"] == "f1"]["occluded"].tolist() == [True]
    out = build("--set", "keep={group: true, depiction: true, inside: true, occluded: false}")[1]
    assert "excluded by keep: 1 occluded boxes" in out
    assert made().boxes.query("id == 'f3'")["group"].tolist() == [True]


def test_boxes_are_cleaned(download, build, made):
    download.many(9).add("f1", ("Boat", (50, 40, 20, 10)), ("Boat", (-10, 5, 20, 70)), ("Boat", (5, 5, 5, 9)))
    out = build()[1]
    assert "1 with swapped corners fixed, 1 clipped to the image, 1 removed as empty" in out
    dataset = made()
    assert corners_of(dataset)[-2:] == [[20, 10, 50, 40], [0, 5, 20, 60]]


# Upright


@pytest.mark.parametrize(("rotation", "size"), [("90.0", (60, 80)), ("180.0", (80, 60)), ("270.0", (60, 80))])
@pytest.mark.parametrize("way", [None, 3, 6, 8])
def test_rotation_of_the_table_overrides_the_exif_tag(download, build, made, rotation, size, way):
    box = (5, 8, 30, 20)
    download.many(3).add("f1", ("Boat", box), content=encoded(box, way), rotation=rotation)
    out = build()[1]
    assert "  rotated upright: 1 images, written to runs/boxes/boats/rotated" in out
    row = made().images.set_index("id").loc["f1"]
    assert (row["width"], row["height"]) == size
    assert (row["file"], row["rotated"]) == ("rotated/f1.png", True)
    assert corners_of(made())[-1] == white_in("runs/boxes/boats/rotated/f1.png")


@pytest.mark.parametrize("rotation", ["nan", "", "0.0"])
def test_exif_tag_is_used_where_the_rotation_is_unknown(download, build, made, rotation):
    box = (5, 8, 30, 20)
    download.many(3).add("f1", ("Boat", box), content=encoded(box, 6), rotation=rotation)
    build()
    row = made().images.set_index("id").loc["f1"]
    assert row["rotated"]
    assert (row["width"], row["height"]) == ((80, 60) if rotation == "0.0" else (60, 80))
    assert corners_of(made())[-1] == white_in(Path("runs/boxes/boats") / row["file"])


def test_unused_rotated_images_are_removed(download, build):
    download.many(3).add("f1", ("Boat", (5, 8, 30, 20)), rotation="90.0")
    build()
    download.images[-1][-1] = "0.0"
    build()
    assert not list(Path("runs/boxes/boats/rotated").iterdir())


# Missing images


def test_missing_and_incomplete_images_are_left_out_and_listed(download, build, made):
    download.many(9).add("f1", ("Boat", (1, 1, 20, 20)), is_there=False)
    download.add("f2", ("Boat", (1, 1, 20, 20)), content=encoded()[:900])
    out = build()[1]
    assert (
        "  left out: 2 unavailable images (first: f1: not in images/{id}.jpg); see"
        " runs/boxes/boats/failed_downloads.csv\n"
    ) in out
    dead = pd.read_csv("runs/boxes/boats/failed_downloads.csv", keep_default_na=False)
    assert dead.to_numpy().tolist() == [["f1", "", "not in images/{id}.jpg"], ["f2", "", "not a complete image"]]
    assert len(made().images) == 9
    download.image("f1").write_bytes(encoded())
    download.image("f2").write_bytes(encoded())
    assert "failed_downloads.csv" not in build()[1]
    assert not Path("runs/boxes/boats/failed_downloads.csv").exists()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        content = b"" if "dead" in self.path else encoded((10, 10, 40, 40))
        self.send_response(200 if content else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    served = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    served.asked = []
    thread = threading.Thread(target=served.serve_forever, args=(0.01,))
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def mirror(download, server):
    """The download fetches what it lacks from the server, by subset and id."""
    address = f"http://127.0.0.1:{server.server_port}/{{subset}}/{{id}}.jpg"
    download.change(source={"kind": "openimages", "fetch": {"addresses": [address, "original"]}})
    return server


def test_missing_images_are_downloaded_and_failures_listed(download, build, made, mirror):
    download.many(5)
    for id_ in ("f1", "f2", "dead1"):
        download.add(id_, ("Boat", (10, 10, 40, 40)), is_there=False)
    out = build()[1]
    assert "downloading images, 3 images\n" in out
    assert "left out: 1 unavailable images (first: dead1: status 404)" in out
    assert sorted(mirror.asked) == ["/train/dead1.jpg", "/train/f1.jpg", "/train/f2.jpg"]
    assert len(made().images) == 7
    assert corners_of(made())[-1] == white_in(download.image("f2"))
    assert build()[0] == 0
    assert sorted(mirror.asked)[:2] == ["/train/dead1.jpg"] * 2  # failures may have been of the network


def test_incomplete_image_is_downloaded_again(download, build, made, mirror):
    download.many(5).add("f1", ("Boat", (10, 10, 40, 40)), content=b"broken")
    assert build()[0] == 0
    assert mirror.asked == ["/train/f1.jpg"]
    assert len(made().images) == 6


def test_time_limit_stops_and_the_same_command_resumes(download, build, made, mirror, monkeypatch):
    for number in range(30):
        download.add(f"{number:04}", ("Boat", (10, 10, 40, 40)), is_there=False)
    calls = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(StopCondition, "reason", lambda self, needed: "--time-limit 5s" if next(calls) > 8 else None)
        code, _, err = build("--time-limit", "5s")
    assert code == 75
    assert err.startswith("podium: --time-limit 5s: stopped; downloaded images are kept; resume with: podium detect")
    assert not Path("runs/boxes/boats/index.json").exists()
    came = len(list((download.folder / "images").iterdir()))
    assert 0 < came < 30
    asked = len(mirror.asked)
    assert build()[0] == 0
    assert len(mirror.asked) - asked == 30 - came
    assert len(made().images) == 30


# Images without boxes


@pytest.mark.parametrize(("wanted", "count"), [(4, 4), (0.25, 3), (0, 0)])
def test_number_of_empty_images(download, build, made, wanted, count):
    download.many(12).add("f1", ("Boat", (1, 1, 20, 20), "group"))
    for number in range(20):
        download.add(f"e{number:02}", ("Car", (1, 1, 9, 9)), is_there=number % 2 == 0)
    download.change(empty_images=wanted)
    out = build()[1]
    images = made().images
    empty = images[~images["id"].isin(made().boxes["id"])]["id"].tolist()
    assert len(empty) == count
    assert all(id_[0] == "e" and int(id_[1:]) % 2 == 0 for id_ in empty)
    assert (f"  images without boxes: {count}\n" in out) == (count > 0)


# The demo's


def test_demo_competition_has_a_detector(podium, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_competition(tmp_path / "data" / "podium-demo-cars", train=30, test=10)
    code, out, err = podium("detect", "build", CONFIGS / "demo_cars.yaml")
    assert (code, err) == (0, "")
    dataset = read_dataset(Path("runs/boxes/podium-demo-cars"))
    assert (dataset.classes, len(dataset.images), len(dataset.boxes)) == (["Car"], 30, 30)
    assert "left out: 10 unavailable images" in out
    assert set(dataset.images["file"].str.split("/").str[0]) == {"train"}


# Export and import


@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_dataset_is_exported_and_imported(podium, download, build, made, form):
    download.many(12).add("f1", ("Boat", (5, 8, 30, 20)), rotation="90.0").add("e1", ("Car", (1, 1, 2, 2)))
    download.change(empty_images=1)
    build()
    code, out, err = podium("detect", "export", "boats.yaml", "there", "--as", form, "--data", "openimages")
    assert (code, err) == (0, "")
    assert out == f"there: 14 images, 13 boxes in {form} format\n"
    download.detector(slug="back", source={"kind": form, "folder": "there"}, split="source")
    code, out, err = podium("detect", "build", "boats.yaml", "--data", ".")
    assert (code, err) == (0, "")
    back, before = made("runs/boxes/back"), made()
    assert back.images[["id", "split", "width", "height"]].equals(before.images[["id", "split", "width", "height"]])
    assert back.boxes["class"].tolist() == before.boxes["class"].tolist()
    assert np.allclose(back.corners(), before.corners(), atol=0.51 if form == "voc" else 1e-5)
    assert "nothing has changed" in podium("detect", "build", "boats.yaml", "--data", ".")[1]


def test_imported_dataset_is_filtered_and_split(podium, download, build, made):
    download.many(30)
    build()
    podium("detect", "export", "boats.yaml", "there", "--as", "yolo", "--data", "openimages")
    download.detector(slug="back", source={"kind": "yolo", "folder": "there"}, classes={"kayak": "Canoe"})
    assert podium("detect", "build", "boats.yaml", "--data", ".", "--set", "empty_images=3")[0] == 0
    back = made("runs/boxes/back")
    assert (back.classes, len(back.boxes), len(back.images)) == (["kayak"], 10, 13)
    download.change(classes=["Cano"])
    code, _, err = podium("detect", "build", "boats.yaml", "--data", ".")
    assert (code, err) == (
        1, "podium: there has no class 'Cano'; did you mean 'Canoe'? (names must match exactly)\n",
    )  # fmt: skip


def test_missing_images_of_an_import_are_left_out(podium, download, build, made):
    download.many(6)
    build()
    podium("detect", "export", "boats.yaml", "there", "--as", "voc", "--data", "openimages")
    next(Path("there/JPEGImages").iterdir()).unlink()
    download.detector(slug="back", source={"kind": "voc", "folder": "there"})
    assert "left out: 1 unavailable images" in podium("detect", "build", "boats.yaml", "--data", ".")[1]
    assert len(made("runs/boxes/back").images) == 5


def test_transfer_list_needs_no_images(podium, download):
    download.add("f1", ("Boat", (1, 1, 9, 9)), url="https://b/2_o.jpg", is_there=False)
    download.add("f2", ("Boat", (1, 1, 9, 9)), url="https://a/1_o.jpg", is_there=False)
    download.add("f3", ("Boat", (1, 1, 9, 9)), is_there=False)
    for row in download.images[:2]:
        row[8:10] = [99, MD5]
    download.write()
    code, out, err = podium("detect", "export", "boats.yaml", "boats.tsv", "--as", "transfer", "--data", "openimages")
    assert (code, err) == (0, "")
    assert out == "boats.tsv: 2 URLs; 1 images have no URL with size and checksum\n"
    assert Path("boats.tsv").read_text() == (
        f"TsvHttpData-1.0\nhttps://a/1_o.jpg\t99\t{MD5}\nhttps://b/2_o.jpg\t99\t{MD5}\n"
    )


# Errors


def test_unknown_class_is_reported_with_the_nearest_name(download, build):
    download.many(3).change(classes=["boat", "Canoes"])
    code, out, err = build()
    assert (code, out) == (1, "")
    assert err == (
        "podium: openimages/class-descriptions-boxable.csv: no class 'boat'; did you mean 'Boat'?; no class 'Canoes';"
        " did you mean 'Canoe'? (names must match exactly)\n"
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda one: one.boxes.append(["a", "x", "/m/019jd", 1, "?", 1, 0, 1, 0, 0, 0, 0, 0]),
            "line 8: XMin: expected a numb",
        ),
        (
            lambda one: one.boxes.append(["../a", "x", "/m/019jd", 1, 0, 1, 0, 1, 0, 0, 0, 0, 0]),
            "expected an image id",
        ),
        (lambda one: one.boxes.clear(), "has no box of Boat, Canoe in 0 rows"),
        (lambda one: one.images[0].__setitem__(-1, "45"), "Rotation: expected 0, 90, 180, 270 or nan, got '45'"),
        (
            lambda one: [path.unlink() for path in (one.folder / "images").iterdir()],
            "none of the 6 images is available",
        ),
        (
            lambda one: one.change(source={"kind": "openimages", "boxes": "none.csv"}),
            "openimages/none.csv is missing",
        ),
        (lambda one: one.change(source={"kind": "openimages", "image_table": "none.csv"}), "none.csv is missing"),
        (lambda one: one.change(source={"kind": "yolo"}), "classes.txt"),
        (lambda one: one.change(source={"kind": "voc"}), "Annotations"),
        (lambda one: one.change(source={"kind": "coco"}), "annotations/instances_"),
    ],
)
def test_error_is_one_line_and_keeps_the_previous_dataset(download, build, made, spoil, message):
    download.many(6)
    build()
    before = made().boxes
    spoil(download)
    code, _, err = build()
    assert (code, len(err.splitlines())) == (1, 1)
    assert message in err
    assert made().boxes.equals(before)
    assert {path.name for path in Path("runs/boxes/boats").iterdir()} == {"index.json", "images.csv", "boxes.csv"}


def test_dataset_must_be_built_before_export(podium, download):
    download.many(3).write()
    arguments = ("detect", "export", "boats.yaml", "there", "--as", "yolo", "--data", "openimages")
    assert podium(*arguments) == (
        1, "", "podium: no dataset in runs/boxes/boats: build it with podium detect build\n",
    )  # fmt: skip
    assert not Path("there").exists()


@pytest.mark.parametrize("text", ['{"source": 5}', "{", "[]", ""])
def test_damaged_dataset_is_built_again(download, build, made, text):
    download.many(6)
    build()
    Path("runs/boxes/boats/index.json").write_text(text)
    assert build()[0] == 0
    assert len(made().images) == 6
