import hashlib

import pytest

from podium.detection.building import assign_splits

IDS = [f"image-{number}" for number in range(10_000)]
SHARES = (0.8, 0.1, 0.1)


def test_split_follows_the_documented_hash():
    def expected(image_id, seed, first, second):
        fraction = int(hashlib.sha256(f"{seed}/{image_id}".encode()).hexdigest()[:13], 16) / 16**13
        return "train" if fraction < first else "validation" if fraction < second else "test"

    ids = ["007", "a/b", "Жук", *IDS[:200]]
    assert assign_splits(ids, 3, SHARES).tolist() == [expected(name, 3, 0.8, 0.9) for name in ids]
    assert assign_splits(ids, 4, (0.5, 0.25, 0.25)).tolist() == [expected(name, 4, 0.5, 0.75) for name in ids]


def test_split_does_not_change_when_images_are_added_or_removed():
    all_splits = dict(zip(IDS, assign_splits(IDS, 42, SHARES), strict=True))
    some = IDS[5000:3000:-7]
    assert assign_splits(some, 42, SHARES).tolist() == [all_splits[name] for name in some]
    assert assign_splits([], 42, SHARES).tolist() == []


def test_shares_are_met_approximately():
    splits = assign_splits(IDS, 42, SHARES).tolist()
    assert splits.count("train") == pytest.approx(8000, abs=100)
    assert splits.count("validation") == pytest.approx(1000, abs=100)
    assert splits.count("test") == pytest.approx(1000, abs=100)


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
def test_a_part_may_have_no_share(shares, expected):
    assert set(assign_splits(IDS, 42, shares)) == expected
