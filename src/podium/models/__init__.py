"""Backbones, the classifier built on one, devices and precision."""
