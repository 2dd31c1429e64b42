import hashlib

import pytest

from podium.detection.splitting import splits_of
from podium.errors import ConfigError

IDS = [f"image-{number}" for number in range(10_000)]


def by_definition(name, seed, first, second):
    place = int(hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()[:13], 16) / 16**13
    return "train" if place < first else "validation" if place < second else "test"


def test_a_split_is_what_the_definition_says():
    ids = ["007", "a/b", "Жук", *IDS[:200]]
    assert splits_of(ids, seed=3).tolist() == [by_definition(name, 3, 0.8, 0.9) for name in ids]
    assert splits_of(ids, seed=4, shares=(0.5, 0.25, 0.25)).tolist() == [
        by_definition(name, 4, 0.5, 0.75) for name in ids
    ]


def test_these_images_are_split_like_this_for_ever():
    splits = splits_of(IDS[:12], seed=42).tolist()
    assert splits == ["train"] * 6 + ["validation"] + ["train"] * 3 + ["test", "train"]


def test_a_image_keeps_its_split_when_others_come_and_go():
    all_of_them = dict(zip(IDS, splits_of(IDS), strict=True))
    some = IDS[5000:3000:-7]
    assert splits_of(some).tolist() == [all_of_them[name] for name in some]


def test_the_shares_are_met_nearly():
    splits = splits_of(IDS).tolist()
    assert splits.count("train") == pytest.approx(8000, abs=100)
    assert splits.count("validation") == pytest.approx(1000, abs=100)
    assert splits.count("test") == pytest.approx(1000, abs=100)


def test_another_seed_splits_otherwise():
    assert splits_of(IDS, seed=1).tolist() != splits_of(IDS, seed=2).tolist()


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((1, 0, 0), {"train"}),
        ((0, 1, 0), {"validation"}),
        ((0, 0, 1), {"test"}),
        ((0.9, 0.1, 0), {"train", "validation"}),
        ((0.1 + 0.2, 0, 0.7), {"train", "test"}),
    ],
)
def test_a_split_may_have_no_share(shares, expected):
    assert set(splits_of(IDS, shares=shares)) == expected


def test_no_images_have_no_splits():
    assert splits_of([]).tolist() == []


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.8, 0.1, 0.2), (1.1, -0.1, 0), (float("nan"), 0, 1), ()])
def test_shares_that_cannot_be_are_told(shares):
    with pytest.raises(ConfigError, match="expected three numbers from 0 to 1, for train, validation, test, whose sum"):
        splits_of(IDS, shares=shares)
