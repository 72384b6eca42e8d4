"""Readers of the file formats that published data sets come in."""
