"""Devices and processes: meshes, placement, seeds, watchdog."""
