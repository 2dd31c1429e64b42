"""Deprecation warnings from podium's own calls are errors in all tests, whatever other filters are added."""

import warnings

import pytest

DEPRECATED = "import warnings; warnings.warn('use something else', {category}, stacklevel=1)"


@pytest.mark.parametrize("category", ["DeprecationWarning", "PendingDeprecationWarning", "FutureWarning"])
@pytest.mark.parametrize("module", ["podium", "podium.data.images"])
def test_a_deprecated_call_of_podium_is_an_error(module, category):
    with pytest.raises(Warning, match="use something else"):
        exec(DEPRECATED.format(category=category), {"__name__": module})


@pytest.mark.filterwarnings("ignore")
def test_filters_of_a_test_are_obeyed():
    """Otherwise the tests above would prove nothing of the filters."""
    exec(DEPRECATED.format(category="DeprecationWarning"), {"__name__": "podium"})
    assert warnings.filters[0][0] == "ignore"
