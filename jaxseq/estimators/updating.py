"""Single updates on further examples: `partial_fit` of estimators."""

import dataclasses
import functools
from typing import Any
from typing import Self
from typing import final

import jax
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.data import scale
from jaxseq.estimators import base
from jaxseq.tasks import base as tasks
from jaxseq.training import compile_cache
from jaxseq.training import supervised
from jaxseq.types import PyTree


@dataclasses.dataclass(eq=False, repr=False)
class Updated(base.SequenceEstimator):
  """Base of estimators that make single updates.

  A `partial_fit` reads its arguments as `fit` does: `return self._go_on(X, y)`,
  with options of `_read`.
  """

  def _problem(self, arm: Any, source: Any) -> Any:
    """Returns the training problem of an update."""
    return self._task.problem(arm, source, None)

  def _scaled(self, rows: base.Rows) -> dict[str, np.ndarray]:
    """Returns the values to standardize (n, channels), by prefix of fields."""
    del rows
    return {}

  @final
  def _go_on(
    self, *inputs: object, carry: bool = False, **options: object
  ) -> Self:
    """Makes one update with all examples; with `carry` states are kept."""
    first = not hasattr(self, "_training")
    rows = self._read(*inputs, reset=first, **options)
    moments = {k: scale.Moments.of(x) for k, x in self._scaled(rows).items()}
    prepared = None
    if first:
      self.n_updates_ = 0
    else:
      prepared = self._training[0]
      before = getattr(self, "_moments", None)
      if before is None:
        # Older files have only the scale, which stays.
        moments = None
      else:
        moments = {k: before[k].merged(one) for k, one in moments.items()}
        prepared = _rescaled(prepared, moments)
    self._make_update(self._material(rows, None, prepared), carry=carry)
    self._moments = moments
    return self

  @final
  def _make_update(
    self, material: base.Material, *, carry: bool = False
  ) -> None:
    """Makes one update with all examples; with `carry` states are kept."""
    compile_cache.enable()
    if not hasattr(self, "_training"):
      self._measure(material)
      # One batch of a stream must not determine the initialization.
      self._further = {}
    arm = self._configure(material.count)
    problem = self._problem(arm, material.source)
    run = self._update(arm, problem)
    if hasattr(self, "_training"):
      state = _restored(self._training[1])
    else:
      state = jax.jit(
        functools.partial(
          supervised.init, problem, self._constant_optimizer(arm)
        )
      )(jax.random.key(self._seed()))
    if not carry:
      state = state._replace(carry=None)
    check_streams(state.carry, material.count)
    state, metrics = jax.device_get(run(state, problem.data))
    if not np.isfinite(metrics["loss"]):
      raise ValueError(
        f"update {self.n_updates_ + 1}: the loss is {float(metrics['loss'])}: "
        "try a smaller learning_rate."
      )
    self._training = material.preparation, _stored(state)
    self.n_updates_ += 1
    self._keep(material, problem.network, jax.device_get(state.variables))

  @final
  def _update(self, arm, problem):
    """Returns the compiled update on all examples of a problem."""
    # The configuration determines the parameters and the number of examples.
    config, run = getattr(self, "_program", (None, None))
    rate = self._sized("learning_rate")
    if config != (arm, rate):
      optimizer = self._constant_optimizer(arm)
      run = jax.jit(functools.partial(supervised.update, problem, optimizer))
      self._program = (arm, rate), run
    return run

  @final
  def _constant_optimizer(self, arm):
    rate = self._sized("learning_rate")
    recipe = self._recipe(learning_rate=rate, schedule="constant")
    return tasks.make_optimizer(dataclasses.replace(arm, optimizer=recipe), 1)


@dataclasses.dataclass(eq=False, repr=False)
class UpdatedEstimator(Updated, base.SizedEstimator, base.SeriesEstimator):
  """Base of estimators that continue training on later series.

  Values are standardized by the mean and deviation of all series so far, which
  are part of the current model.
  """

  _: dataclasses.KW_ONLY
  summaries: bool | None = None

  @final
  def _pooled(self, pooling: str) -> nn.NetworkConfig:
    """Returns the configuration of a network that pools."""
    given = self.summaries
    if given is None:
      given = self._further.get("summaries", False)
    return self._network(pooling, summaries=given)

  def _scaled(self, rows: base.Rows) -> dict[str, np.ndarray]:
    """Returns the values to standardize (n, channels), by prefix of fields."""
    return {"": np.concatenate(rows.values)}


def _rescaled(prepared, moments):
  """Returns the preparation with the moments' scales, by field prefix."""
  fields = {
    f"{prefix}{name}": value
    for prefix, one in moments.items()
    for name, value in one.scale()._asdict().items()
  }
  return dataclasses.replace(prepared, **fields)


def check_streams(states: PyTree, count: int) -> None:
  """Checks that there are as many series as carried states.

  Args:
    states: arrays (streams, ...), or None.
    count: number of series.

  Raises:
    ValueError: if the numbers differ.
  """
  for leaf in jax.tree.leaves(states)[:1]:
    if len(leaf) != count:
      expected = f"{len(leaf)}, which go on where those before ended"
      raise validate.error("X", f"{count} series", expected)


def _stored(state):
  """Returns a state that can be pickled: its key becomes plain integers."""
  state = state._replace(key=jax.random.key_data(state.key))
  return jax.device_get(state)


def _restored(state):
  return state._replace(key=jax.random.wrap_key_data(state.key))
