"""Devices and processes: meshes, placement, seeds, watchdog."""

from typing import TYPE_CHECKING

from jaxseq import _lazy

if TYPE_CHECKING:
  from jaxseq.training.devices import device_mesh as device_mesh
  from jaxseq.training.devices import placement as placement
  from jaxseq.training.devices import process_flags as process_flags
  from jaxseq.training.devices import processes as processes
  from jaxseq.training.devices import seeds as seeds
else:
  __getattr__, __dir__, __all__ = _lazy.attach(__name__)
