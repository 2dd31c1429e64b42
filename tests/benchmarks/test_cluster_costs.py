"""`make cluster`: the table has the ratios of the same round."""

from benchmarks import cluster


def test_ratios_are_those_of_the_same_round():
    names = (cluster.ALONE, cluster.ONE, cluster.ONE_CORE, cluster.TWO_CORES)
    rounds = [dict(zip(names, seconds, strict=True)) for seconds in ((100, 108, 180, 100), (200, 212, 380, 200))]
    lines = cluster.table(rounds, 4).splitlines()
    assert lines[2] == "| `podium run` | 150 |  |"
    assert lines[3] == "| one machine, all cores | 160 | +10.0 s, 1.07 times `podium run` |"
    assert lines[5] == "| two, one core each | 150 | 1.85 times as fast as one |"
