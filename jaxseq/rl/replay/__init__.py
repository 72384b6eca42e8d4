"""Replays of frames and of sequences, with one tree of priorities."""
