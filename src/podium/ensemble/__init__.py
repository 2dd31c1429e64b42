"""Predictions as plain files, ways to blend them, and an honest estimate of what a blend is worth."""
