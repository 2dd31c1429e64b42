"""Metrics, statistics, and the comparison of predictions."""
