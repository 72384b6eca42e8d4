"""Memories of sparse codes, which store an item after seeing it once."""
