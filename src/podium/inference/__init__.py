"""Prediction with a trained model, and test-time augmentation."""
