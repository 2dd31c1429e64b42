"""Stages, schedules, callbacks, and the trainer that reads as a story."""
