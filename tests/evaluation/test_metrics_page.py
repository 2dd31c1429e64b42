"""docs/metrics.md lists every metric as it is."""

import re
from pathlib import Path

from podium.evaluation.metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_table_of_metrics_is_complete():
    rows = re.findall(r"^\| `([^`]+)` \| ([\w, ]+) \| (higher|lower) \|", PAGE, flags=re.MULTILINE)
    expected = [
        (name, ", ".join(metric.targets), "higher" if metric.higher_is_better else "lower")
        for name, metric in METRICS.items()
    ]
    assert rows == expected
