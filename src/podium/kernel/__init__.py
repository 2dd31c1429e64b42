"""The script that Kaggle runs: its contents, its metadata, and a local rehearsal of it."""
