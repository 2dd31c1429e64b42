import errno
import os
import stat
import zipfile

import pytest

from podium.data.archives import unpack
from podium.errors import DamagedArchiveError, DataError, UnsafeArchiveError


@pytest.fixture
def archive(tmp_path):
    """Writes a zip of these (name, content); a name is written as it is, even if zipfile would change it."""

    def written(*entries, name="train.zip"):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for entry, content in entries:
                info = zipfile.ZipInfo("placeholder")
                info.filename = entry
                info.compress_type = zipfile.ZIP_DEFLATED
                opened.writestr(info, content)
        return path

    return written


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_zip_is_unpacked_with_its_folders(archive, tmp_path):
    folder = unpack(archive(("train/0/a.jpg", b"red"), ("train/1/b.jpg", b"blue")), tmp_path / "deep" / "unpacked")
    assert (folder / "train/0/a.jpg").read_bytes() == b"red"
    assert (folder / "train/1/b.jpg").read_bytes() == b"blue"
    assert everything_in(tmp_path / "deep") == [
        "unpacked",
        "unpacked/train",
        "unpacked/train/0",
        "unpacked/train/0/a.jpg",
        "unpacked/train/1",
        "unpacked/train/1/b.jpg",
    ]


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/x", "..\\x", "a\\..\\..\\x", "\\x", "\\\\host\\share\\x", "C:/x", "C:\\x", "c:x", ""],
)
def test_a_path_outside_the_folder_is_an_error_and_nothing_is_written(archive, tmp_path, name):
    path = archive(("good.jpg", b"good"), (name, b"bad"))
    with pytest.raises(UnsafeArchiveError, match=r"train\.zip contains a path outside the folder"):
        unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path) == ["out", "train.zip"]


def test_a_link_is_an_error(tmp_path):
    link = zipfile.ZipInfo("innocent.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeArchiveError, match=r"contains a link: innocent\.jpg"):
        unpack(tmp_path / "train.zip", tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == []


NOISE = bytes(number * number % 251 for number in range(20_000))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: b"",
        lambda whole: b"<html>Sign in to download</html>",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:60] + b"\xff" * 50 + whole[110:],
        lambda whole: whole.replace(NOISE[:100], bytes(100)),
    ],
    ids=["empty", "a page", "half", "unreadable inside", "other bytes than were packed"],
)
def test_a_damaged_zip_is_an_error_and_leaves_nothing(tmp_path, spoil):
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("packed.bin", NOISE, compress_type=zipfile.ZIP_DEFLATED)
        opened.writestr("stored.bin", NOISE, compress_type=zipfile.ZIP_STORED)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"train\.zip is not a complete zip .*download it again"):
        unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == []


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_entry_of_any_compression_is_an_error_and_leaves_nothing(tmp_path, method):
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr("a.bin", NOISE)
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(DamagedArchiveError, match=r"train\.zip is not a complete zip .*download it again"):
        unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == []


def test_a_zip_with_a_password_is_an_error(archive, tmp_path):
    path = archive(("a.jpg", b"red"))
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag of the entry, and of the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.zip cannot be unpacked .*encrypted"):
        unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == []


def test_a_zip_larger_than_the_disk_is_an_error_before_anything_is_written(archive, tmp_path, monkeypatch):
    path = archive(("a.jpg", bytes(3_000_000)))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(DataError, match="needs 2 MB more"):
        unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == []


def test_an_unpacked_zip_is_not_unpacked_again(archive, tmp_path):
    path = archive(("a.jpg", b"red"))
    folder = unpack(path, tmp_path / "unpacked")
    (folder / "a.jpg").write_bytes(b"mine")
    path.unlink()
    assert unpack(path, folder) == folder
    assert (folder / "a.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(errno.EIO, "broken disk")])
def test_an_interrupted_unpacking_leaves_no_folder(archive, tmp_path, monkeypatch, interruption):
    path = archive(("a.jpg", b"red"), ("b.jpg", b"blue"))

    def half(opened, folder, members):
        opened.extract(members[0], folder)
        raise interruption

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extractall", half)
        with pytest.raises(type(interruption)):
            unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == []
    assert everything_in(unpack(path, tmp_path / "out" / "unpacked")) == ["a.jpg", "b.jpg"]


def test_folders_of_killed_processes_are_removed(archive, tmp_path):
    left, recent = tmp_path / ".unpacking-1", tmp_path / ".unpacking-2"
    for folder in (left, recent):
        (folder / "content").mkdir(parents=True)
    os.utime(left, (0, 0))
    unpack(archive(("a.jpg", b"red")), tmp_path / "unpacked")
    assert (left.exists(), recent.exists()) == (False, True)


def test_a_zip_that_unpacks_to_far_more_is_an_error_before_anything_is_written(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("podium.data.archives.MOST_UNPACKED", 10**6)
    path = archive(("zeros.csv", bytes(10**6 + 1)))
    with pytest.raises(UnsafeArchiveError, match="would unpack to 1 MB"):
        unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == []


def test_a_faster_process_with_the_same_archive_is_no_error(archive, tmp_path, monkeypatch):
    path = archive(("a.jpg", b"red"))
    extract = zipfile.ZipFile.extractall

    def overtaken(opened, folder, members):
        extract(opened, folder, members)
        (tmp_path / "out" / "unpacked").mkdir()
        (tmp_path / "out" / "unpacked" / "a.jpg").write_bytes(b"red")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", overtaken)
    unpack(path, tmp_path / "out" / "unpacked")
    assert everything_in(tmp_path / "out") == ["unpacked", "unpacked/a.jpg"]
