"""Checkpoints that are written in the background and verified when read.

Arrays are written by Orbax. Around it stand: digests of every leaf and file
(`integrity`), one rename that makes a checkpoint exist at once and whole, and
the fall-back to the newest good checkpoint when a newer one is damaged.

    checkpoints/30/state/            Orbax
    checkpoints/30/integrity.json    digests
    checkpoints/40.damaged/          set aside by `restore`
    checkpoints/30.pinned            30 is kept, see `pin`
    checkpoints/60.not_finite/       set aside by `go_back`
    checkpoints/tmp-50/              being written; meaningless after a kill
"""

from collections.abc import Iterator
from collections.abc import Mapping
import concurrent.futures
import contextlib
import os
import pathlib
import re
import shutil
from typing import Any

from absl import logging
import jax
from jax.experimental import multihost_utils
import numpy as np

from jaxseq import validate
from jaxseq.training import _array_files
from jaxseq.training import _leaves
from jaxseq.training import _lock
from jaxseq.training import errors
from jaxseq.training import integrity
from jaxseq.types import PyTree

_STATE = "state"
_TEMPORARY = "tmp-"
_DAMAGED = ".damaged"
_PINNED = ".pinned"
_NOT_FINITE = ".not_finite"
# Other digits than these ten, such as ², are no number of a step.
_STEP = re.compile("[0-9]+")


class CheckpointError(errors.UserError):
  """Checkpoints cannot be written, are all damaged, or do not fit.

  Attributes:
    damaged: by step, the damage of damaged checkpoints.
  """

  def __init__(self, message: str, damaged: Mapping[int, str] | None = None):
    super().__init__(message)
    self.damaged = dict(damaged or {})


class Checkpointer:
  """Saves and restores pytrees by step number, in one directory.

  Every process of a multi-process program makes one and calls the same
  methods; the directory must be on storage that all of them share.

  Args:
    directory: where the checkpoints are; made when first saved to.
    keep: how many of the newest checkpoints are kept.
    read_only: never sets damaged checkpoints aside; `save` is an error.
  """

  def __init__(
    self,
    directory: str | os.PathLike,
    *,
    keep: int = 3,
    read_only: bool = False,
  ):
    validate.positive("keep", keep)
    self._directory = pathlib.Path(directory).absolute()
    self._keep = keep
    self._read_only = read_only
    self._arrays = _array_files.ArrayFiles()
    self._thread = concurrent.futures.ThreadPoolExecutor(
      1, thread_name_prefix="checkpoint"
    )
    self._pending: tuple[int, concurrent.futures.Future] | None = None
    self._cleaned = False

  def __enter__(self) -> "Checkpointer":
    return self

  def __exit__(self, *unused_exception) -> None:
    self.close()

  @property
  def directory(self) -> pathlib.Path:
    """The directory of the checkpoints."""
    return self._directory

  def steps(self) -> list[int]:
    """Returns the steps of the checkpoints that are there, oldest first."""
    if not self._directory.is_dir():
      return []
    names = [p.name for p in self._directory.iterdir() if p.is_dir()]
    return sorted(int(name) for name in names if _STEP.fullmatch(name))

  def save(self, step: int, tree: PyTree) -> None:
    """Starts to save a tree; returns when it has been copied to the host.

    The tree's buffers may be donated or changed afterwards. An earlier save
    that is still being written is waited for first.

    Args:
      step: number of the checkpoint.
      tree: leaves are arrays of any numeric dtype, typed keys, and Python
        numbers or strings.

    Raises:
      CheckpointError: this or the earlier save failed, or the step exists.
    """
    if self._read_only:
      raise ValueError("save() on a Checkpointer with read_only=True")
    self.wait()
    if self._path(step).exists():
      raise CheckpointError(
        f"checkpoint {step} exists already in {str(self._directory)!r}"
      )
    pairs, _ = _leaves.flatten(tree)
    described = [_leaves.describe(path, leaf) for path, leaf in pairs]
    values = _leaves.to_host([leaf for _, leaf in pairs])
    temporary = self._directory / f"{_TEMPORARY}{step}"
    try:
      if jax.process_index() == 0:
        self._clean()
        if temporary.exists():
          # An earlier try to save this step has failed.
          shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
      if jax.process_count() > 1:
        # Reads the arrays that live on several processes before it returns.
        self._arrays.write(temporary / _STATE, described, values)
    except OSError as error:
      raise self._cannot_write(step, error) from error
    record = integrity.Record(step, described, [], {})
    future = self._thread.submit(self._commit, temporary, record, values)
    self._pending = (step, future)

  def restore(
    self, template: PyTree, step: int | None = None
  ) -> tuple[int, Any] | None:
    """Restores the newest checkpoint that is whole.

    Newer ones that are damaged are set aside (renamed to `N.damaged`) with a
    warning that says what was wrong with them.

    Args:
      template: a tree like the one that was saved, of arrays or
        ShapeDtypeStructs: gives structure, shapes, dtypes and placement.
      step: restores this one or fails; the newest good one if None.

    Returns:
      The step and the tree; None if there are no checkpoints.

    Raises:
      CheckpointError: every checkpoint is damaged, a damaged one cannot be set
        aside, or the template has another structure, shape or dtype than what
        was saved.
    """
    self.wait()
    damaged: dict[int, str] = {}
    steps = self.steps()
    if step is not None:
      if step not in steps:
        raise CheckpointError(
          f"there is no checkpoint {step} in {str(self._directory)!r}; the "
          f"steps there are {steps}"
        )
      steps = [step]
    for candidate in reversed(steps):
      try:
        tree = self._load(candidate, template)
      except integrity.DamagedError as error:
        damaged[candidate] = str(error)
        continue
      if damaged:
        self.set_aside(damaged, candidate)
      return candidate, tree
    if not damaged:
      return None
    reasons = "; ".join(f"step {s}: {why}" for s, why in damaged.items())
    raise CheckpointError(
      f"no checkpoint in {str(self._directory)!r} is whole ({reasons}); remove "
      "that directory to start again",
      damaged,
    )

  def pin(self, step: int) -> None:
    """Keeps a step for good, however many newer ones there are.

    Of several that are pinned the first is: it is the one before anything went
    wrong.
    """
    if self._read_only:
      raise ValueError("pin() on a Checkpointer with read_only=True")
    self.wait()
    if jax.process_index() == 0 and self.pinned() is None:
      self._path(step).with_suffix(_PINNED).touch()

  def pinned(self) -> int | None:
    """Returns the step that is kept for good, or None."""
    for step in self.steps():
      if self._path(step).with_suffix(_PINNED).exists():
        return step
    return None

  def go_back(self, step: int) -> None:
    """Sets aside the checkpoints after a step, so that it is the newest one.

    Raises:
      CheckpointError: one of them cannot be renamed.
    """
    later = {s: "not finite" for s in self.steps() if s > step}
    self._rename(later, _NOT_FINITE)

  def wait(self) -> None:
    """Waits until the last save is on disk.

    Raises:
      CheckpointError: it could not be written.
    """
    if self._pending is None:
      return
    step, future = self._pending
    self._pending = None
    try:
      future.result()
    except (OSError, ValueError) as error:
      raise self._cannot_write(step, error) from error
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices(f"checkpoint {step}")

  def close(self) -> None:
    """Waits for the last save and ends the background thread."""
    try:
      self.wait()
    finally:
      self._thread.shutdown()
      self._arrays.close()

  def _path(self, step: int) -> pathlib.Path:
    return self._directory / str(step)

  def _cannot_write(self, step: int, error: Exception) -> CheckpointError:
    return CheckpointError(
      f"checkpoint {step} could not be written to {str(self._directory)!r}: "
      f"{_array_files.reason(error)}"
    )

  def _clean(self) -> None:
    """Removes what an earlier process left half written."""
    if not self._cleaned and self._directory.is_dir():
      for path in self._directory.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)
    self._cleaned = True

  def _commit(
    self,
    temporary: pathlib.Path,
    record: integrity.Record,
    values: list[object],
  ) -> None:
    """Runs in the background: writes, then makes the step exist."""
    if jax.process_count() == 1:
      self._arrays.write(temporary / _STATE, record.leaves, values)
    self._arrays.wait()
    if jax.process_index() != 0:
      return
    record = record._replace(
      digests=[
        integrity.leaf_digest(value) if isinstance(value, np.ndarray) else None
        for value in values
      ],
      files=integrity.file_digests(temporary),
    )
    integrity.write(temporary, record)
    try:
      _lock.check(self._directory)
    except errors.UserError:
      # The run's directory was moved: here is another one, made by this save.
      _remove(temporary)
      raise
    os.rename(temporary, self._path(record.step))
    _sync_directory(self._directory)
    self._prune()

  def _prune(self) -> None:
    """Removes the checkpoints that are not new enough."""
    for step in self.steps()[: -self._keep]:
      if self._path(step).with_suffix(_PINNED).exists():
        continue
      # Renamed first: a kill must not leave half a checkpoint.
      doomed = self._directory / f"{_TEMPORARY}old-{step}"
      os.rename(self._path(step), doomed)
      shutil.rmtree(doomed, ignore_errors=True)

  def _load(self, step: int, template: PyTree) -> Any:
    """Returns the tree of a checkpoint; DamagedError if it is not whole."""
    path = self._path(step)
    pairs, treedef = _leaves.flatten(template)
    wanted = [_leaves.describe(p, leaf) for p, leaf in pairs]
    with _together(integrity.DamagedError, OSError):
      record = integrity.read(path)
      if record.step != step:
        raise integrity.DamagedError(f"it is of step {record.step}")
    added = _leaves.added(record.leaves, wanted)
    misfit = _leaves.mismatch([*record.leaves, *added], wanted)
    if misfit:
      raise CheckpointError(
        f"checkpoint {step} in {str(self._directory)!r} is of another model or "
        f"state: {misfit}"
      )
    with _together(integrity.DamagedError, OSError):
      integrity.check_files(path, record)
    # Paths are the same; the order may not be, as with another kind of dict.
    by_path = dict(pairs)
    templates = [by_path[leaf.path] for leaf in record.leaves]
    # Orbax's own errors are of many types.
    with _together(Exception):
      values = self._arrays.read(path / _STATE, record.leaves, templates)
      integrity.check_leaves(record, values)
    leaves = [*record.leaves, *added]
    values = [*values, *(np.zeros(leaf.shape, leaf.dtype) for leaf in added)]
    order = {leaf.path: i for i, leaf in enumerate(leaves)}
    out = [
      _leaves.from_host(leaves[i], values[i], by_path[p])
      for p, i in ((p, order[p]) for p, _ in pairs)
    ]
    return jax.tree.unflatten(treedef, out)

  def set_aside(self, damaged: Mapping[int, str], used: int) -> None:
    """Warns of damaged checkpoints and makes their numbers free again.

    Args:
      damaged: by step, the damage.
      used: the step that the run resumes from.

    Raises:
      CheckpointError: one of them cannot be renamed.
    """
    fate = "ignored" if self._read_only else "set aside"
    if not self._read_only:
      whys = {step: f"damaged ({why})" for step, why in damaged.items()}
      self._rename(whys, _DAMAGED)
    reasons = "; ".join(f"step {s}: {why}" for s, why in damaged.items())
    logging.warning(
      "Damaged checkpoints in %s are %s (%s); going on from step %d instead",
      self._directory,
      fate,
      reasons,
      used,
    )

  def _rename(self, reasons: Mapping[int, str], suffix: str) -> None:
    """Gives checkpoints a name that is no step's; says why if that fails."""
    for step, why in reasons.items() if jax.process_index() == 0 else ():
      target = self._path(step).with_suffix(suffix)
      try:
        if target.is_dir():
          shutil.rmtree(target)
        else:
          target.unlink(missing_ok=True)
        os.rename(self._path(step), target)
      except OSError as error:
        # The run would come back to this step, and could not save it.
        raise CheckpointError(
          f"checkpoint {step} in {str(self._directory)!r} is {why} and cannot "
          f"be set aside ({errors.one_sentence(error)}): remove it, or make "
          "the directory writable"
        ) from error
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices(f"checkpoints set aside{suffix}")


@contextlib.contextmanager
def _together(*kinds: type[Exception]) -> Iterator[None]:
  """Makes errors of these kinds, of any process, a DamagedError of all."""
  problem = None
  try:
    yield
  except kinds as error:
    problem = errors.one_sentence(error)
  whole = np.bool_(problem is None)
  if jax.process_count() > 1:
    whole = np.all(multihost_utils.process_allgather(whole))
  if not whole:
    raise integrity.DamagedError(problem or "it is damaged for another process")


def _remove(path: pathlib.Path) -> None:
  """Removes a directory, and those above it that have nothing else."""
  shutil.rmtree(path, ignore_errors=True)
  with contextlib.suppress(OSError):
    for parent in path.parents:
      parent.rmdir()


def _sync_directory(path: pathlib.Path) -> None:
  """Puts a rename on disk."""
  if os.name == "nt":
    return  # Windows opens no directories
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
