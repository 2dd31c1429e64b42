"""Backbones, and the classifier built on one."""
