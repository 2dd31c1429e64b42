"""Rows, folds, images and batches: from the competition's files to what a model eats."""
