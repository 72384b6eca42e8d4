"""PopArt: critic values in units of their targets, for reward normalization.

Van Hasselt et al., "Learning values across many orders of magnitude",
arXiv:1602.07714. A critic learns the targets less their running mean, in
running standard deviations, and its values are

    value = mean + scale * output.

Whenever the statistics change, the last layer is rescaled so that no value
changes. The statistics are variables of `networks.ActorCritic` that get no
gradient, like those of `normalization`. Before the first update their scale is
0, so that values are 0 and do not depend on a first guess of the reward scale.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp

from jaxseq.rl import networks
from jaxseq.rl import normalization
from jaxseq.training import optimizers
from jaxseq.types import PyTree

Array = jax.Array
T = TypeVar("T")

# The collection of statistics: "count", "mean" and "scale", () float32.
COLLECTION = networks.POPART

# Updates whose targets count; all of them as long as there were fewer.
_UPDATES = 20
# Targets that differ only by rounding count as equal.
_SMALLEST = 1e-6


def initial() -> dict[str, Array]:
  """Returns the statistics before the first target."""
  return dict.fromkeys(("count", "mean", "scale"), jnp.float32(0))


def update(variables: PyTree, target: Array) -> PyTree:
  """Adds targets (num_envs, time), and rescales the last layer of the critic.

  Non-finite targets leave the variables unchanged. If all targets so far are
  equal, the scale is 0 and every value is their mean.
  """
  old = variables[COLLECTION]
  count = jnp.minimum(old["count"], (_UPDATES - 1) * target.size)
  before = normalization.Statistics(
    count, old["mean"][None], jnp.square(old["scale"])[None]
  )
  merged = normalization.merge(before, target[..., None])
  mean, scale = merged.mean[0], jnp.sqrt(merged.variance[0])
  scale = jnp.where(scale <= _SMALLEST * jnp.abs(mean), 0, scale)
  new = {"count": merged.count, "mean": mean, "scale": scale}
  new = optimizers.keep_if(jnp.isfinite(scale), new, old)
  params = variables["params"]
  layers = params["critic"]["mlp"]
  last = max(layers, key=lambda name: int(name.removeprefix("dense_")))
  kernel, bias = (old["scale"] * layers[last][x] for x in ("kernel", "bias"))
  bias += old["mean"] - new["mean"]
  layer = {"kernel": kernel / unit(new), "bias": bias / unit(new)}
  layer = optimizers.keep_if(new["scale"] > 0, layer, layers[last])
  critic = {**params["critic"], "mlp": {**layers, last: layer}}
  params = {**params, "critic": critic}
  return {**variables, "params": params, COLLECTION: new}


def normalize(variables: PyTree, values: T) -> T:
  """Returns arrays of values less the mean, in standard deviations.

  They do not change if the variables have no statistics. No gradient flows
  into the statistics.
  """
  if COLLECTION not in variables:
    return values
  held = jax.lax.stop_gradient(variables[COLLECTION])
  return jax.tree.map(lambda x: (x - held["mean"]) / unit(held), values)


def unit(statistics: PyTree) -> Array:
  """Returns the scale (), or 1 if it is 0."""
  scale = statistics["scale"]
  return jnp.where(scale > 0, scale, 1)
