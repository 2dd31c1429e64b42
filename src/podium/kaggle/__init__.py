"""Kaggle itself: its client, the script its kernels run, a local runner, and the fleet of kernels."""
