"""The competition that podium draws: cars of eight body types, to try everything on."""
