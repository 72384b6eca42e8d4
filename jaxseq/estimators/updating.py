"""Updates by further examples: `partial_fit` of classifiers and regressors."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from jaxseq.tasks import base as tasks
from jaxseq.training import supervised


class Updating:
  """Base of estimators that go on learning from examples that come later.

  A subclass has `_read`, `_splits`, `_problem`, and the kind of its models.
  """

  _kind: str

  def _go_on(self, X: Any, y: Any, *, carry: bool = False, **options: Any):
    """Makes one update with all examples; with `carry` states are kept."""
    first = not hasattr(self, "_training")
    series, targets = self._read(X, y, reset=first, **options)
    rows = np.arange(len(series.values))
    if first:
      splits = self._splits(series, targets, rows, None)
      problem = self._problem(splits, whole=True)
      optimizer = self._constant_optimizer()
      state = jax.jit(functools.partial(supervised.init, problem, optimizer))(
        jax.random.key(self._seed())
      )
      self._training = problem.network, splits, _stored(state)
      self.n_updates_ = 0
    network, splits, stored = self._training
    part = splits.info.preparation.prepare(series.values, targets=targets)
    splits_now = splits._replace(train=part, valid=None, test=part)
    state = _restored(stored)
    if not carry:
      state = state._replace(carry=None)
    run, problem = self._update(splits_now)
    state, metrics = jax.device_get(run(state, problem.data))
    if not np.isfinite(metrics["loss"]):
      raise ValueError(
        f"update {self.n_updates_ + 1}: the loss is {float(metrics['loss'])}: "
        "try a smaller learning_rate."
      )
    self._training = network, splits, _stored(state)
    self.n_updates_ += 1
    self._keep(self._kind, network, jax.device_get(state.variables), splits)
    return self

  def _update(self, splits):
    """The compiled update with all examples of a set, and their problem."""
    problem = self._problem(splits, whole=True)
    # Its configuration has the parameters and the number of examples.
    config, run = getattr(self, "_program", (None, None))
    if config != problem.arm:
      optimizer = self._constant_optimizer()
      run = jax.jit(functools.partial(supervised.update, problem, optimizer))
      self._program = problem.arm, run
    return run, problem

  def _constant_optimizer(self):
    recipe = dataclasses.replace(self._recipe(), schedule="constant")
    arm = tasks.ArmConfig(self._network("none"), recipe)
    return tasks.make_optimizer(arm, 1)

  def _forget_updates(self) -> None:
    self.__dict__.pop("_training", None)
    self.__dict__.pop("_program", None)


def _stored(state):
  """A state without what cannot be pickled: the words of its key."""
  state = state._replace(key=jax.random.key_data(state.key))
  return jax.device_get(state)


def _restored(state):
  return state._replace(key=jax.random.wrap_key_data(state.key))
