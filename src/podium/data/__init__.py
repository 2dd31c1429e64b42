"""Rows, folds, images, augmentation and batches: from a competition's files to the inputs of a model."""
