import pytest

from podium.config.differences import NOTHING, differences


def compared(*configs):
    return {one.key: one.values for one in differences(configs)}


def test_differences_have_full_keys():
    one = {"seed": 42, "head": {"pooling": "avg", "dropout": 0.2}, "stages": [{"epochs": 12}, {"epochs": 3}]}
    other = {"seed": 42, "head": {"pooling": "gem", "dropout": 0.2}, "stages": [{"epochs": 20}, {"epochs": 3}]}
    assert compared(one, other) == {"head.pooling": ["avg", "gem"], "stages.0.epochs": ["12", "20"]}
    assert compared(one, one) == {}


def test_keys_are_in_the_order_of_the_configs():
    assert list(compared({"b": 1, "a": 1}, {"b": 2, "a": 2, "c": 3})) == ["b", "a", "c"]


def test_a_missing_mapping_is_one_difference():
    assert compared({"backbone": {"alpha": 0.5}}, {}) == {"backbone": ["{alpha: 0.5}", NOTHING]}
    shorter, longer = {"stages": [{"epochs": 1}]}, {"stages": [{"epochs": 1}, {"epochs": 2, "name": "all"}]}
    assert compared(shorter, longer) == {"stages.1": [NOTHING, "{epochs: 2, name: all}"]}


def test_a_list_of_plain_values_is_compared_as_a_whole():
    assert compared({"tta": ["identity"]}, {"tta": ["identity", "flip"]}) == {"tta": ["[identity]", "[identity, flip]"]}


def test_an_empty_list_and_a_list_of_mappings_are_compared_item_by_item():
    flip = {"Affine": {"p": 0.5}}
    assert compared({"augmentation": []}, {"augmentation": [flip]}) == {
        "augmentation.0": [NOTHING, "{Affine: {p: 0.5}}"],
    }


def test_of_one_transform_only_the_argument_that_differs_is_compared():
    assert compared(
        {"a": ["Flip", {"Affine": {"p": 0.5, "scale": 2}}]}, {"a": ["Flip", {"Affine": {"p": 1, "scale": 2}}]}
    ) == {"a.1.Affine.p": ["0.5", "1"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [({"Affine": {"p": 0.5}}, {"Blur": {"p": 0.5}}), ({"kind": "cosine", "p": 0.5}, {"kind": "plateau", "p": 1})],
)
def test_values_of_different_kinds_are_compared_as_a_whole(one, other):
    assert list(compared({"what": one}, {"what": other})) == ["what"]


def test_values_are_written_as_in_yaml():
    assert compared(
        {"a": 1e-5, "b": None, "c": True, "d": "off"}, {"a": 0.002, "b": [1, "NA"], "c": False, "d": "x: y"}
    ) == {
        "a": ["1e-05", "0.002"],
        "b": ["null", "[1, NA]"],
        "c": ["true", "false"],
        "d": ["off", "x: y"],
    }


def test_a_key_missing_in_one_config_is_reported_once():
    head = {"head": {"pooling": "avg", "dropout": 0.5}}
    assert compared(head, head, {}) == {"head": ["{pooling: avg, dropout: 0.5}"] * 2 + [NOTHING]}
    assert compared(head, {"head": {"pooling": "avg", "dropout": 0}}, {}) == {"head.dropout": ["0.5", "0", NOTHING]}


def test_three_configs_have_three_values():
    assert compared({"a": {"b": 1}}, {"a": {"b": 2}}, {}) == {"a.b": ["1", "2", NOTHING]}
