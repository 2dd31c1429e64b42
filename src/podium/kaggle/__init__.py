"""Requests to Kaggle: its client, pushing kernels, downloading their output, and fleets of kernels."""
