"""Comparisons: arms and seeds of a problem, trained and evaluated."""
