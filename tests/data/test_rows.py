def test_a(tiny_competition):
    from podium.data.rows import read_rows
    rows = read_rows(tiny_competition.competition, tiny_competition.folder)
    assert len(rows.train) == 24
    print(tiny_competition.member())
    from podium.config.loading import load_ensemble
    load_ensemble(tiny_competition.ensemble([tiny_competition.member("a"), tiny_competition.member("b")]))
