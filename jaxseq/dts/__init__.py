"""Disentangled representations of time series."""
