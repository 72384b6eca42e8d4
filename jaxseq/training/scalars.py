"""Scalars of a run: `metrics.jsonl` always, TensorBoard when it can.

`metrics.jsonl` has one JSON object a line:

    {"step": 8192, "wall_time": 1764028800.12, "loss": [0.31, 0.29], ...}

A value is a number, or a list of numbers with one item per seed. JSON has no
numbers that are not finite: they are written as the strings "NaN", "Infinity"
and "-Infinity", and `read` turns them back. Every field but those in
`WALL_CLOCK_FIELDS` is the same in every run of the same program, interrupted
or not.

TensorBoard gets the same numbers; one with several seeds becomes the tags
`loss/seed_0`, `loss/seed_1`, ...
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import json
import math
import os
import pathlib
import time
from typing import Any

from absl import logging
import jax
import numpy as np

from jaxseq import _json
from jaxseq import limits
from jaxseq import validate
from jaxseq.training import _event_files
from jaxseq.training import errors
from jaxseq.training import files

# Called on the host with the directory of a run, a step and its row.
Hook = Callable[[pathlib.Path, int, dict[str, Any]], None]

FILE = "metrics.jsonl"
WALL_CLOCK_FIELDS = ("wall_time", "steps_per_second", "steps_per_cpu_second")

_FROM_TEXT = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricWriter:
  """Appends rows to `metrics.jsonl` and to TensorBoard event files.

  Only process 0 writes; in the others every method does nothing.

  Args:
    workdir: the directory of the run; made if it does not exist.
    tensorboard: whether event files are wanted. Without the package
      tensorboardX a note says once that they are missing.
    hooks: called with the workdir, the step and the flat values of each row
      once it is written, for other loggers. A run that resumes from a
      checkpoint calls them again for the rows after it.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    tensorboard: bool = True,
    hooks: Sequence[Hook] = (),
  ):
    self._path = pathlib.Path(workdir) / FILE
    self._hooks = tuple(hooks)
    self._active = jax.process_index() == 0
    self._tensorboard = tensorboard
    self._file = None
    self._events = None
    self._purge_step: int | None = None

  def __enter__(self) -> "MetricWriter":
    return self

  def __exit__(self, *unused_exception) -> None:
    self.close()

  def resume(self, step: int | None) -> None:
    """Drops the rows after a step, which a resumed run writes again.

    None drops all rows. Call it before the first `write`.
    """
    if not self._active:
      return
    if self._file is not None:
      raise ValueError("resume() must be called before the first write()")
    if not self._path.exists():
      return
    whole_lines = []
    for line, row in _lines(self._path):
      if step is not None and row["step"] <= step:
        whole_lines.append(line)
    files.write_text(self._path, "".join(whole_lines))
    self._purge_step = (step or 0) + 1 if whole_lines else 0

  def write(self, step: int, values: Mapping[str, object]) -> None:
    """Writes one row; it is in the file when this returns.

    Args:
      step: the row's step.
      values: names to numbers or to vectors with one number per seed; nested
        mappings are joined with "/".

    Raises:
      ValueError: a value is neither, or has a name that is taken.
    """
    if not self._active:
      return
    flat = flatten(values)
    for name in flat:
      if name in ("step", "wall_time"):
        raise ValueError(f"a metric cannot be called {name!r}")
    self._open()
    wall_time = time.time()
    row = {"step": int(step), "wall_time": round(wall_time, 3)}
    line = json.dumps(files.json_value({**row, **flat}), allow_nan=False)
    self._file.write(line + "\n")
    self._file.flush()
    if self._events is not None:
      self._events.write(int(step), wall_time, flat)
    for hook in self._hooks:
      hook(self._path.parent, int(step), dict(flat))

  def flush(self) -> None:
    """Puts everything written so far on disk.

    A file that was moved or removed meanwhile is created again.
    """
    if self._file is not None:
      os.fsync(self._file.fileno())
      if not self._in_place():
        logging.warning(
          "%s was moved or removed; the rows up to here are no longer in it",
          self._path,
        )
        self.close()
        if not self._path.parent.is_dir():
          place = str(self._path.parent)
          raise errors.UserError(f"{place!r} was moved or removed")
        self._open()
    if self._events is not None:
      self._events.flush()

  def close(self) -> None:
    """Closes the files."""
    if self._events is not None:
      self._events.close()
      self._events = None
    if self._file is not None:
      file, self._file = self._file, None
      file.close()

  def _in_place(self) -> bool:
    """Returns whether the open file is the one that has its name."""
    try:
      return os.path.samestat(
        os.fstat(self._file.fileno()), os.stat(self._path)
      )
    except FileNotFoundError:
      return False

  def _open(self) -> None:
    if self._file is not None:
      return
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._file = open(self._path, "a", encoding="utf-8")
    if not self._tensorboard:
      return
    try:
      self._events = _event_files.EventFiles(
        self._path.parent / "tensorboard", self._purge_step
      )
    except ImportError:
      logging.log_first_n(
        logging.WARNING,
        "tensorboardX is not installed: scalars go to %s only, not to "
        "TensorBoard (pip install 'jaxseq[log]').",
        1,
        FILE,
      )


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
  """Reads the rows of a `metrics.jsonl`, or of that in a directory.

  Returns:
    One dict per row; numbers that are not finite are floats again. If there is
    no such file a warning tells so, and there are no rows.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    path = path / FILE
  if not path.exists():
    logging.warning("%s does not exist: there are no rows", path)
    return []
  return [
    {name: _from_json(value) for name, value in row.items()}
    for _, row in _lines(path)
  ]


def column(
  rows: Sequence[Mapping[str, Any]], name: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns one metric over the steps of a run, as the plots want it.

  Rows, as from `read`, that do not have the metric are left out.

  Returns:
    Steps (n,) and values (seeds, n); seeds is 1 for a plain scalar.
  """
  chosen = [row for row in rows if name in row]
  steps = np.asarray([row["step"] for row in chosen])
  values = [np.atleast_1d(np.asarray(row[name], float)) for row in chosen]
  if not values:
    return steps, np.zeros((1, 0))
  return steps, np.stack(values, axis=-1)


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, Any]:
  """Returns metrics as a flat dict of floats and vectors of floats.

  Raises:
    ValueError: a value is neither a number nor a vector of numbers.
  """
  out = {}
  for name, value in values.items():
    name = f"{prefix}{name}"
    if isinstance(value, Mapping):
      out.update(flatten(value, f"{name}/"))
      continue
    array = np.asarray(value)
    # bfloat16 and its like are of kind "V".
    if array.dtype.kind not in "biufV" or array.dtype.names or array.ndim > 1:
      raise ValueError(
        f"metric {name!r}: got {array.dtype.name}{list(array.shape)}, expected "
        "a number or a vector with one number per seed."
      )
    if array.dtype.kind in "fV":
      array = array.astype(np.float64)
    out[name] = array.tolist()
  return out


def split_updates(
  metrics: Mapping[str, object], count: int, axis: int | None = 0
) -> Iterator[dict[str, np.ndarray]]:
  """Splits metrics that are stacked over updates into one dict per update.

  Args:
    metrics: names to arrays; nested mappings are allowed.
    count: number of updates that were made.
    axis: the axis that counts the updates; None for metrics of all updates
      together, which gives one dict.

  Yields:
    Dicts of the same names, without that axis.

  Raises:
    ValueError: an array does not have `count` items along the axis.
  """
  arrays = jax.tree.map(np.asarray, dict(metrics))
  if axis is None:
    yield arrays
    return
  for path, array in jax.tree_util.tree_leaves_with_path(arrays):
    if not -array.ndim <= axis < array.ndim or array.shape[axis] != count:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise validate.error(
        f"metric {name!r}",
        f"shape {array.shape}",
        f"an axis {axis} that counts {count} updates",
      )
  for i in range(count):
    yield jax.tree.map(lambda array, i=i: array.take(i, axis), arrays)


def _lines(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields the whole lines of a file with their rows, and warns of damage."""
  with open(
    path, encoding="utf-8", errors="replace", opener=limits.regular
  ) as file:
    lines = file.readlines()
  for number, line in enumerate(lines, start=1):
    try:
      row = _json.loads(line)
      valid = line.endswith("\n") and isinstance(row["step"], int)
    except (ValueError, KeyError, TypeError):
      valid = False
    if valid:
      yield line, row
    elif number < len(lines):
      logging.warning("%s: line %d is damaged and left out", path, number)


def _from_json(value: object) -> Any:
  if isinstance(value, list):
    return [_from_json(item) for item in value]
  return _FROM_TEXT.get(value, value) if isinstance(value, str) else value
