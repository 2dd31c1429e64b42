"""Mixup and CutMix: images and targets are mixed in the same shares, which depend on the seed and the rows."""

import numpy as np
import pytest

from podium.config.mixing import Mix
from podium.data.mixing import Mixing

TARGETS = np.eye(3, dtype=np.float32)
GREYS = np.array([0, 100, 200], np.uint8)
IMAGES = np.broadcast_to(GREYS[:, None, None, None], (3, 20, 30, 3))
"""Each row has one grey value, so that a mixed image shows what it was mixed of."""


def mixed(seed=0, epoch=0, images=IMAGES, targets=TARGETS, **ways):
    mixing = Mixing(*(Mix(alpha=ways[name]) if name in ways else None for name in ("mixup", "cutmix")), epochs=8)
    return mixing((images, targets), epoch, [seed])


@pytest.mark.parametrize("seed", range(4))
def test_mixup_blends_images_and_targets_in_the_same_share(seed):
    images, targets = mixed(seed, mixup=1.0)
    assert images.dtype == np.uint8
    for row in range(3):
        share = targets[row, row]
        assert targets[row, row - 1] == pytest.approx(1 - share, abs=1e-6)
        assert (images[row] == images[row, 0, 0, 0]).all()
        assert images[row, 0, 0, 0] == pytest.approx(share * GREYS[row] + (1 - share) * GREYS[row - 1], abs=0.51)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_mixes_targets_by_the_area_of_the_rectangle(seed):
    images, targets = mixed(seed, cutmix=1.0)
    for row in range(3):
        own, other = images[row] == GREYS[row], images[row] == GREYS[row - 1]
        assert (own | other).all()
        assert targets[row, row] == pytest.approx(own.mean(), abs=1e-6)
        assert targets[row, row - 1] == pytest.approx(other.mean(), abs=1e-6)
        columns = other.any(axis=(0, 2))  # one rectangle
        assert not columns.any() or other[other.any(axis=(1, 2))][:, columns].all()


def test_small_alpha_leaves_most_images_nearly_as_they_are():
    def strongest(alpha):
        shares = [mixed(seed, mixup=alpha)[1][0, 0] for seed in range(200)]
        return np.mean([min(share, 1 - share) for share in shares])

    assert strongest(0.1) < 0.1 < 0.2 < strongest(1.0)


def test_with_both_each_batch_is_mixed_by_one_of_the_two():
    is_blended = [len(np.unique(mixed(seed, mixup=1.0, cutmix=1.0)[0][1])) == 1 for seed in range(200)]
    assert 0.4 < np.mean(is_blended) < 0.65  # a rectangle may cover all or nothing


def test_probability_is_that_of_a_batch_to_be_mixed():
    mixing = Mixing(Mix(alpha=1.0, probability=0.3), None, epochs=8)
    unchanged = [(mixing((IMAGES, TARGETS), 0, [seed])[1] == TARGETS).all() for seed in range(300)]
    assert 0.6 < np.mean(unchanged) < 0.8


def test_the_last_epochs_and_a_single_row_are_not_mixed():
    assert (mixed(epoch=7, mixup=1.0)[1] != TARGETS).any()
    assert mixed(epoch=8, mixup=1.0)[1] is TARGETS
    assert (mixed(images=IMAGES[:1], targets=TARGETS[:1], cutmix=1.0)[1] == TARGETS[:1]).all()


def test_weights_of_rows_are_mixed_and_metadata_are_those_of_the_larger_share():
    metadata, weights = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([1, 1, 0.5], np.float32)
    mixing, largest = Mixing(Mix(alpha=1.0), None, epochs=8), set()
    for seed in range(8):
        (images, chosen), targets, mixed_weights = mixing(((IMAGES, metadata), TARGETS, weights), 0, [seed])
        plain_images, shares = mixing((IMAGES, TARGETS), 0, [seed])
        assert (images == plain_images).all()
        np.testing.assert_array_equal(chosen, metadata[shares.argmax(axis=1)])
        np.testing.assert_allclose(mixed_weights, shares @ weights, rtol=1e-5)
        # Each row counts as much as its part of both rows.
        np.testing.assert_allclose(targets * mixed_weights[:, None], shares * weights, rtol=1e-5)
        largest.add(int(shares[1].argmax()))
    assert largest == {0, 1}


def test_mixed_numbers_are_those_of_the_image_whatever_a_row_counts():
    numbers, weights = np.array([[10.0], [20], [30]], np.float32), np.array([1, 1, 0.1], np.float32)
    mixing = Mixing(Mix(alpha=1.0), None, epochs=8, of_shares=False)
    shares = mixing((IMAGES, TARGETS), 0, [3])[1]
    _, targets, mixed_weights = mixing((IMAGES, numbers, weights), 0, [3])
    np.testing.assert_allclose(targets, shares @ numbers, rtol=1e-5)
    np.testing.assert_allclose(mixed_weights, shares @ weights, rtol=1e-5)
