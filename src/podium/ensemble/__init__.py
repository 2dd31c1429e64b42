"""Blending of members."""
