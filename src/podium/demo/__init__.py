"""The demo competition that podium draws: cars of eight body types."""
