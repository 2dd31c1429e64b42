"""Rows, folds, pictures and batches: from the competition's files to what a model eats."""
