import cv2
import numpy as np
import pytest

from podium.config import member as config  # its TestTimeViews is no test, whatever pytest thinks of the name
from podium.data.targets import BinaryTarget, SingleLabelTarget
from podium.evaluation.metrics import METRICS, Metric
from podium.inference.tta import ViewSelection, make_views

ACCURACY, LOG_LOSS = METRICS["accuracy"], METRICS["log_loss"]
RED, BLUE, GREEN, WHITE = (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 255, 255)


def select(metric=ACCURACY, mean="arithmetic"):
    return ViewSelection(SingleLabelTarget(list("abcd")), metric, mean)


def quarters(side=40):
    """Red, blue; green, white."""
    image = np.zeros((2 * side, 2 * side, 3), np.uint8)
    image[:side, :side], image[:side, side:], image[side:, :side], image[side:, side:] = RED, BLUE, GREEN, WHITE
    return image


def views_of(*written):
    return make_views(config.TestTimeViews(views=list(written)))


def seen(view, image=None, size=80, row=0, seed=0):
    look = view.prepare(size, "squash", seed)
    return look(look.scaling.scale(quarters() if image is None else image), row)


def colours(image):
    """The colours at the centres of the four quarters."""
    names = {RED: "red", BLUE: "blue", GREEN: "green", WHITE: "white"}
    side = len(image)
    spots = [(side // 4, side // 4), (side // 4, 3 * side // 4), (3 * side // 4, side // 4)]
    return [names[tuple(int(value) for value in image[spot])] for spot in [*spots, (3 * side // 4, 3 * side // 4)]]


def boundary(image):
    """The width of red in the top row."""
    return int((image[2, :, 0] > 128).sum())


def test_identity_is_the_resized_image():
    (view,) = views_of("identity")
    assert (seen(view) == quarters()).all()


def test_horizontal_flip():
    (view,) = views_of("horizontal_flip")
    assert (seen(view) == quarters()[:, ::-1]).all()


def test_scale_above_one_zooms_in_and_below_one_zooms_out():
    disc = cv2.circle(np.zeros((80, 80, 3), np.uint8), (40, 40), 16, WHITE, thickness=-1)
    larger, same, smaller = (
        seen(view, disc)[40, :, 0] > 128 for view in views_of({"scale": 2}, "identity", {"scale": 0.5})
    )
    assert int(same.sum()) == 33
    assert int(larger.sum()) == pytest.approx(66, abs=2)
    assert int(smaller[20:60].sum()) == pytest.approx(16, abs=2)  # mirrored beyond


def test_centre_crop_shows_its_share_of_the_image():
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[20:60, 20:60] = WHITE
    (half, most) = views_of({"centre_crop": 0.5}, {"centre_crop": 0.8})
    assert (seen(half, frame)[2:-2, 2:-2] > 128).all()
    assert (seen(most, frame)[40, :, 0] > 128).mean() == pytest.approx(0.5 / 0.8, abs=0.03)


def test_corner_crops_are_four_views():
    views = views_of({"corner_crops": 0.5})
    assert [view.name for view in views] == ["top_left 0.5", "top_right 0.5", "bottom_left 0.5", "bottom_right 0.5"]
    assert [set(colours(seen(view))) for view in views] == [{"red"}, {"blue"}, {"green"}, {"white"}]
    # Red reaches to 0.5 of the image: 0.5 of the 0.8 that a left crop sees, 0.3 of those that a right one sees.
    widths = [boundary(seen(view)) for view in views_of({"corner_crops": 0.8})]
    assert widths == pytest.approx([50, 30, 50, 30], abs=1)
    heights = [boundary(seen(view).transpose(1, 0, 2)) for view in views_of({"corner_crops": 0.8})]
    assert heights == pytest.approx([50, 50, 30, 30], abs=1)


def test_rotate_turns_by_the_angle_in_both_directions():
    line = np.zeros((80, 80, 3), np.uint8)
    line[38:42] = WHITE
    there, back = views_of({"rotate": 20}, {"rotate": -20})

    def height_at(view, column):
        return float(np.flatnonzero(seen(view, line)[:, column, 0] > 128).mean())

    rise = np.tan(np.radians(20)) * 30
    assert abs(height_at(there, 70) - height_at(there, 40)) == pytest.approx(rise, abs=1.5)
    assert height_at(there, 70) - 39.5 == pytest.approx(39.5 - height_at(back, 70), abs=1.5)
    assert (seen(there, np.full((80, 80, 3), 200, np.uint8)) == 200).all()  # no black corners


def test_brightness_changes_all_pixels_equally():
    grey = np.full((80, 80, 3), 100, np.uint8)
    brighter, darker = (seen(view, grey) for view in views_of({"brightness": 0.2}, {"brightness": -0.2}))
    assert np.unique(brighter).tolist() == [151]  # 0.2 of 255
    assert np.unique(darker).tolist() == [49]


def test_albumentations_transform_as_a_view():
    (view,) = views_of({"VerticalFlip": {"p": 1.0}})
    assert (seen(view) == quarters()[::-1]).all()


def test_parts_of_a_list_are_applied_in_turn():
    (view,) = views_of(["horizontal_flip", {"VerticalFlip": {"p": 1.0}}, {"centre_crop": 0.5}])
    assert colours(seen(view)) == ["white", "green", "blue", "red"]
    flipped = views_of([{"corner_crops": 0.5}, "horizontal_flip"])
    assert [set(colours(seen(view))) for view in flipped] == [{"red"}, {"blue"}, {"green"}, {"white"}]
    assert flipped[0].name == "top_left 0.5 + horizontal_flip"
    corners = views_of(["horizontal_flip", {"corner_crops": 0.5}])
    assert [set(colours(seen(view))) for view in corners] == [{"blue"}, {"red"}, {"white"}, {"green"}]


def test_zoomed_corner_crop_stays_in_its_corner():
    closer = views_of([{"corner_crops": 0.5}, {"scale": 1.6}])
    assert [set(colours(seen(view))) for view in closer] == [{"red"}, {"blue"}, {"green"}, {"white"}]
    (corner, *_), (twice, *_) = views_of([{"corner_crops": 0.8}, {"centre_crop": 0.5}]), views_of({"corner_crops": 0.8})
    # The middle half of the top left 0.8 reaches from 0.2 to 0.6: red ends where 0.3 of those 0.4 are seen.
    assert boundary(seen(corner)) == pytest.approx(80 * 0.3 / 0.4, abs=1)
    assert boundary(seen(twice)) == pytest.approx(80 * 0.5 / 0.8, abs=1)


def test_random_view_is_seeded_by_seed_and_row():
    (view,) = views_of({"Rotate": {"limit": 40, "p": 1.0}})
    first = seen(view, row=3, seed=1)
    assert (seen(view, row=3, seed=1) == first).all()
    assert (seen(view, row=4, seed=1) != first).any()
    assert (seen(view, row=3, seed=2) != first).any()


def test_names_of_views_are_unique():
    names = [view.name for view in make_views(config.TestTimeViews(views=[*config.AUTO_VIEWS, {"corner_crops": 0.9}]))]
    assert names[0] == "identity"
    assert len(set(names)) == len(names) == len(config.AUTO_VIEWS) + 4


PER_VIEW = np.array([[[0.8, 0.2], [0.4, 0.6]], [[0.2, 0.8], [0.1, 0.9]]])


def test_arithmetic_mean_equals_hand_computed_values():
    assert select().average(PER_VIEW) == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]))


def test_geometric_mean_equals_hand_computed_values():
    # The roots of 0.4 * 0.1 and 0.6 * 0.9 are 0.2 and 0.73485.
    assert select(mean="geometric").average(PER_VIEW) == pytest.approx(
        np.array([[0.5, 0.5], [0.21394, 0.78606]]), abs=1e-5
    )


def test_geometric_mean_accepts_zeros():
    joined = select(mean="geometric").average(np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]]))
    assert joined == pytest.approx(np.array([[0.5, 0.5, 0.0]]), abs=1e-5)


def noisy_views(signals, rows=600, classes=4, seed=0):
    """Softmax of noise, plus a signal at the right class: the larger, the better the view."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    logits = random.normal(size=(len(signals), rows, classes))
    logits += np.array(signals)[:, None, None] * np.eye(classes)[labels]
    odds = np.exp(logits)
    return odds / odds.sum(axis=2, keepdims=True), labels


@pytest.mark.parametrize("metric", [ACCURACY, LOG_LOSS])
@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_better_view_has_a_positive_gain_for_every_metric(metric, mean):
    per_view, labels = noisy_views([1.0, 2.5])
    first, better, everything = select(metric, mean).score(["identity", "better"], per_view, labels)
    assert (first.view, first.gain, first.standard_error) == ("identity", 0.0, 0.0)
    assert first.score == metric(labels, per_view[0])
    assert better.score == metric(labels, per_view[1])
    assert better.gain > 3 * better.standard_error > 0
    assert everything.view == "all views"
    assert everything.gain == better.gain


def test_gain_is_that_of_the_mean_with_the_first_view():
    per_view, labels = noisy_views([1.0, 1.0, 1.0])
    gains = select(LOG_LOSS).score(["a", "b", "c"], per_view, labels)
    together = LOG_LOSS(labels, (per_view[0] + per_view[2]) / 2)
    assert gains[2].gain == pytest.approx(LOG_LOSS(labels, per_view[0]) - together)
    assert gains[3].gain == pytest.approx(LOG_LOSS(labels, per_view[0]) - LOG_LOSS(labels, per_view.mean(axis=0)))


@pytest.mark.parametrize("metric", [ACCURACY, LOG_LOSS])
def test_helpful_views_are_chosen_and_noise_is_not(metric):
    per_view, labels = noisy_views([2.0, -1.0, 2.0, 0.0])
    assert select(metric).choose(per_view, labels) == [0, 2]


@pytest.mark.parametrize("metric", [ACCURACY, LOG_LOSS])
def test_duplicate_view_is_not_chosen(metric):
    per_view, labels = noisy_views([2.0])
    assert select(metric).choose(np.repeat(per_view, 3, axis=0), labels) == [0]


def test_single_view_is_chosen():
    per_view, labels = noisy_views([1.0])
    assert select().choose(per_view, labels) == [0]
    assert select().average_chosen([per_view], labels, seed=0) == pytest.approx(per_view[0])


PLAIN_ACCURACY = Metric("accuracy", True, "labels", lambda labels, probs: (probs.argmax(axis=1) == labels).mean())
"""Without the checks, which take most of the time."""


def views_of_pure_noise(seed, rows=300, count=5):
    """A first view that is correct on 70 % of the rows, and others with new random predictions for 10 % of them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, rows)

    def predictions():
        return np.eye(4)[(labels + (random.random(rows) > 0.7) * random.integers(1, 4, rows)) % 4]

    first = predictions()
    others = [np.where(random.random((rows, 1)) < 0.1, 2 * predictions(), first) for _ in range(count)]
    per_view = 0.05 + np.stack([first, *others])
    return per_view / per_view.sum(axis=2, keepdims=True), labels


@pytest.mark.slow
def test_nested_choice_reports_no_gain_for_noise():
    honest, optimistic = [], []
    for seed in range(20):
        per_view, labels = views_of_pure_noise(seed)
        before = PLAIN_ACCURACY(labels, per_view[0])
        chosen = select(PLAIN_ACCURACY).choose(per_view, labels)
        nested = select(PLAIN_ACCURACY).average_chosen([per_view], labels, seed)
        optimistic.append(PLAIN_ACCURACY(labels, select().average(per_view[chosen])) - before)
        honest.append(PLAIN_ACCURACY(labels, nested) - before)
    assert np.mean(optimistic) > 0.008  # by chance
    assert abs(np.mean(honest)) < 0.005


@pytest.mark.parametrize("metric", [ACCURACY, LOG_LOSS])
def test_nested_choice_reports_a_true_gain(metric):
    per_view, labels = noisy_views([1.0, 2.0, -2.0])
    honest = select(metric).average_chosen([per_view], labels, seed=0)
    assert honest.sum(axis=1) == pytest.approx(np.ones(len(labels)))
    assert honest == pytest.approx(select().average(per_view[[0, 1]]))
    assert metric.better(metric(labels, honest), metric(labels, per_view[0]))


def test_halves_are_stratified():
    labels = np.array([0] * 10 + [1] * 4 + [2] * 2)
    per_view = np.stack([np.full((16, 3), 1 / 3), np.eye(3)[labels] * 0.7 + 0.1])
    # The second view helps on either half alone, so every row gets it: also the two of the rarest class.
    honest = select().average_chosen([per_view], labels, seed=0)
    assert (honest.argmax(axis=1) == labels).all()


def test_where_the_score_of_a_half_is_undefined_no_view_is_added():
    """A single positive row is in one half, and the other one has no ROC AUC."""
    selection = ViewSelection(BinaryTarget(["no", "yes"]), METRICS["roc_auc"], "arithmetic")
    per_view = np.random.default_rng(0).random((3, 6, 1))
    labels = np.array([0, 0, 1, 0, 0, 0])
    assert selection.average_chosen([per_view, per_view / 2], labels, seed=0).shape == (6, 1)
    one = selection.average_chosen([per_view[:, :1]], labels[:1], seed=0)
    np.testing.assert_array_equal(one, per_view[0, :1])
