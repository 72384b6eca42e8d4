"""Early stopping on validation, and the variables that were best.

Seeds are trained as one program. A seed that has stopped is trained on with the
others, but its best variables no longer change; the run ends when all seeds
have stopped. The best variables are a part of the state, so that a run that was
interrupted resumes with the same numbers.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any
from typing import NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq.types import PyTree

# Evaluations without improvement that are waited for where nobody says so.
PATIENCE = 5


class Best(NamedTuple):
  """The best evaluation so far, of each seed.

  Attributes:
    variables: of the model.
    score: (seeds,) float32, the metric; NaN before the first evaluation.
    update: (seeds,) int32, updates that had been made.
    waited: (seeds,) int32, evaluations since then.
  """

  variables: PyTree
  score: jax.Array
  update: jax.Array
  waited: jax.Array


@dataclasses.dataclass(frozen=True)
class Rule:
  """A rule that ends the training of a seed.

  The states are of all seeds: NamedTuples with the fields `variables`, `update`
  (seeds,) and `best`, a `Best`.

  Attributes:
    metric: name of the watched metric.
    higher: whether higher is better.
    patience: evaluations without improvement after which a seed stops, once an
      evaluation was finite.
    automatic: whether the rule is a default. Then the variables before the
      first update count, too, as some networks start from counted frequencies;
      and an evaluation as good as the best replaces the best variables, without
      being an improvement: an accuracy on few examples soon stays equal.
  """

  metric: str
  higher: bool
  patience: int
  automatic: bool = False

  def initial(self, state: PyTree) -> Any:
    """Returns the state before the first update with a `Best`."""
    return state._replace(best=_begun(state.variables, state.update))

  def template(self, state: PyTree) -> Any:
    """Returns the shapes of `initial`, from the shapes of a state."""
    count = state.update
    score = jax.ShapeDtypeStruct(
      count.shape, jnp.float32, sharding=getattr(count, "sharding", None)
    )
    return state._replace(best=Best(state.variables, score, count, count))

  def keep(self, state: PyTree, metrics: Mapping[str, object]) -> Any:
    """Returns the state with what an evaluation of the seeds says is best."""
    scores = np.asarray(metrics[self.metric], np.float32)
    best = _kept(self, state.best, state.variables, state.update, scores)
    return state._replace(best=best)

  def stopped(self, state: PyTree) -> np.ndarray:
    """Returns which seeds have stopped, (seeds,) bool."""
    return np.asarray(jax.device_get(state.best.waited)) >= self.patience

  def chosen(self, state: PyTree) -> Any:
    """Returns the state with the best variables in place of the last.

    Seeds without a finite evaluation keep the last; a warning says so.
    """
    best = state.best
    untold = np.isnan(jax.device_get(best.score))
    if untold.any():
      logging.warning(
        "%d of %d seeds have had no evaluation with a finite %s: their last "
        "variables are taken",
        untold.sum(),
        untold.size,
        self.metric,
      )
      kept = best.variables, best.update
      variables, update = _picked(untold, (state.variables, state.update), kept)
      best = best._replace(variables=variables, update=update)
    return state._replace(variables=best.variables, best=best)


@jax.jit
def _begun(variables, update):
  """Returns the `Best` before the first evaluation, in memory of its own."""
  variables, update = jax.tree.map(jnp.copy, (variables, update))
  score = jnp.full_like(update, jnp.nan, jnp.float32)
  return Best(variables, score, update, jnp.zeros_like(update))


@jax.jit
def _picked(mask, new, old):
  """Returns of some seeds the one tree, of the others the other."""
  return jax.tree.map(
    lambda x, y: jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, y),
    new,
    old,
  )


@functools.partial(jax.jit, static_argnums=0)
def _kept(rule, best, variables, update, scores):
  """Returns the best after an evaluation; a seed that has stopped keeps its."""
  better = scores > best.score if rule.higher else scores < best.score
  # A score that is not finite is never better, and any other than none.
  better = jnp.isfinite(scores) & (better | jnp.isnan(best.score))
  open_ = best.waited < rule.patience
  better &= open_
  taken = better
  if rule.automatic:
    taken |= open_ & (scores == best.score)
  # Before there is any there is nothing that it could be better than.
  waits = open_ & ~jnp.isnan(best.score)
  old = best.variables, best.score, best.update
  variables, scores, update = _picked(taken, (variables, scores, update), old)
  return Best(
    variables, scores, update, jnp.where(better, 0, best.waited + waits)
  )
