"""Predictions and test-time views."""
