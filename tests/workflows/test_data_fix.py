"""Groups of copies beside those that people have written."""

from podium.workflows.data_fix import _with_copies


def test_groups_of_people_are_kept_and_joined_where_images_are_copies():
    before = {"a": "car", "b": "car", "c": "van", "d": "van", "e": "bus", "f": "copies-0", "g": "copies-0"}
    groups = _with_copies(before, {"b": 0, "c": 0, "x": 1, "y": 1})
    assert groups == {
        **dict.fromkeys("abcd", "car"),
        "e": "bus",
        **dict.fromkeys("xy", "copies-1"),
    }  # those of an earlier check are gone
    assert _with_copies({}, {"x": 5, "y": 5}) == dict.fromkeys("xy", "copies-5")
