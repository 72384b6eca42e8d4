"""Arrays in files, by Orbax: the part of a checkpoint that is large."""

from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import functools
import logging
import os
import pathlib
import re
import sys
from typing import Any

import jax
import numpy as np

from jaxseq.training import _leaves
from jaxseq.training import errors
from jaxseq.types import PyTree

# Seconds for a write by the wall clock, which also counts the time that a
# laptop sleeps; Orbax's ten minutes would end such a run.
_TIMEOUT = 7 * 24 * 3600


class ArrayFiles:
  """Writes and reads flat lists of described leaves."""

  def __init__(self):
    ocp = _orbax()
    self._orbax = ocp.AsyncCheckpointer(
      ocp.PyTreeCheckpointHandler(), timeout_secs=_TIMEOUT
    )
    _hide_noise()

  def write(
    self,
    path: pathlib.Path,
    described: Sequence[_leaves.Leaf],
    values: Sequence[object],
  ) -> None:
    """Starts to write; copies everything before it returns.

    Args:
      path: directory to make.
      described: descriptions of the leaves.
      values: their arrays, as `_leaves.to_host` gives them.
    """
    arrays = {
      _leaves.storage_name(i, leaf): value
      for i, (leaf, value) in enumerate(zip(described, values))
      if _has_file(leaf)
    }
    if arrays:
      self._orbax.save(path, args=_orbax().args.PyTreeSave(arrays))

  def read(
    self,
    path: pathlib.Path,
    described: Sequence[_leaves.Leaf],
    templates: Sequence[Any],
  ) -> list[Any]:
    """Reads what `write` wrote.

    Args:
      path: the directory.
      described: descriptions of the leaves, as they were when written.
      templates: for each leaf what it is restored onto; where that lives on
        several processes, so does the result.

    Returns:
      For each leaf a numpy array or jax.Array; None for Python values.
    """
    args = {
      _leaves.storage_name(i, leaf): _restore_args(template)
      for i, (leaf, template) in enumerate(zip(described, templates))
      if _has_file(leaf)
    }
    arrays: Mapping[str, Any] = {}
    if args:
      arrays = self._orbax.restore(
        path, args=_orbax().args.PyTreeRestore(restore_args=args)
      )
    return [
      arrays[_leaves.storage_name(i, leaf)]
      if _has_file(leaf)
      else _without_file(leaf)
      for i, leaf in enumerate(described)
    ]

  def wait(self) -> None:
    """Waits until everything is written; raises what went wrong."""
    self._orbax.wait_until_finished()

  def close(self) -> None:
    """Ends Orbax's threads; `wait` has reported failed writes."""
    with contextlib.suppress(OSError, ValueError):
      self._orbax.close()


def reason(error: Exception) -> str:
  """Returns in a few words why a write failed."""
  text = errors.one_sentence(error)
  # Orbax's storage wraps what the system said in three layers.
  code = re.search(r"os_error_code='(\d+)'", text)
  return os.strerror(int(code[1])) if code else text


def _has_file(leaf: _leaves.Leaf) -> bool:
  """Returns whether Orbax keeps the leaf: it refuses arrays without items."""
  return leaf.kind != "python" and 0 not in leaf.shape


def _without_file(leaf: _leaves.Leaf) -> np.ndarray | None:
  """Returns a leaf that needs no file."""
  if leaf.kind == "python":
    return None
  if leaf.kind == "array":
    return np.zeros(leaf.shape, leaf.dtype)
  words = jax.random.key_data(jax.random.key(0, impl=leaf.detail))
  return np.zeros(leaf.shape + words.shape, words.dtype)


def _orbax():
  """Returns Orbax, whose import takes as long as all others of a program."""
  import orbax.checkpoint

  return orbax.checkpoint


def _restore_args(template: PyTree):
  """Returns how Orbax restores a leaf."""
  ocp = _orbax()
  if _leaves.is_whole(template):
    return ocp.RestoreArgs(restore_type=np.ndarray)
  placed = template
  if jax.dtypes.issubdtype(template.dtype, jax.dtypes.prng_key):
    placed = jax.eval_shape(jax.random.key_data, template)
  return ocp.ArrayRestoreArgs(
    sharding=template.sharding, global_shape=placed.shape, dtype=placed.dtype
  )


@functools.cache
def _hide_noise() -> None:
  """Hides what threads print of errors that `ArrayFiles.wait` raises."""
  logging.getLogger("absl").addFilter(_no_orbax_errors)
  shown = sys.unraisablehook

  def hook(raised):
    # TensorStore reports to the event loop of a save that has failed already.
    if str(raised.exc_value) != "Event loop is closed":
      shown(raised)

  sys.unraisablehook = hook


def _no_orbax_errors(record: logging.LogRecord) -> bool:
  """Drops tracebacks of Orbax's threads, whose errors `wait` raises."""
  return record.levelno < logging.ERROR or "orbax" not in record.pathname
