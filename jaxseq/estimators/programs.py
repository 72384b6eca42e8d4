"""A cache of compiled training programs, for fits of the same configuration.

Compiling takes longer than a short training. A program depends on the problem's
configuration and the shapes of its data; seeds, data and the learning rate are
its arguments. So a search over learning rates, or the folds of a
cross-validation, compile once.
"""

import collections
from collections.abc import Hashable
import copy
import dataclasses
import threading

import jax
import numpy as np

from jaxseq.training.comparison import supervised_arms
from jaxseq.training.devices import placement

# Number of cached programs; the least recently used are dropped.
_MOST = 16
_PROGRAMS: collections.OrderedDict[Hashable, supervised_arms.Program] = (
  collections.OrderedDict()
)
_LOCK = threading.Lock()


def of(
  config: supervised_arms.Supervised, arm: supervised_arms.Arm
) -> supervised_arms.Program:
  """Returns the program of an arm, from the cache if it is there.

  Args:
    config: training configuration.
    arm: an arm whose problem returns by `program_key` what its programs depend
      on. Its optimizer must follow from the problem's configuration and the
      config.
  """
  key = _key(config, arm)
  if key is None:
    return arm.program(config)
  with _LOCK:
    program = _PROGRAMS.pop(key, None)
    if program is None:
      hollow = dataclasses.replace(arm, problem=_hollow(arm.problem))
      program = hollow.program(config)
    _PROGRAMS[key] = program
    if len(_PROGRAMS) > _MOST:
      _PROGRAMS.popitem(last=False)
  keys = placement.keys(config.mesh, config.seed, config.num_seeds)
  return program.on(keys, arm.data)


def _key(config, arm):
  """Returns the cache key of an arm's program; None if it is unknown."""
  problem = arm.problem
  static = getattr(problem, "program_key", lambda: None)()
  if static is None:
    return None
  leaves, structure = jax.tree.flatten(problem.data)
  shapes = tuple((np.shape(x), str(x.dtype)) for x in leaves)
  options = (
    *(config.num_seeds, config.num_updates, config.updates_per_chunk),
    *(config.chunks_per_evaluation, config.early_stopping),
    *(config.on_nonfinite, config.mesh),
    *(arm.metric, arm.part, arm.better, arm.rate is None),
  )
  return type(problem), static, structure, shapes, options, tuple(jax.devices())


def _hollow(problem):
  """Returns a problem whose data have shapes, but use no memory."""
  other = copy.copy(problem)
  other.data = jax.tree.map(
    lambda x: np.broadcast_to(np.zeros((), x.dtype), np.shape(x)), problem.data
  )
  return other
