"""Variables of networks, drawn without running what initializes them."""

import jax
import jax.numpy as jnp
import numpy as np


def variables(problem, seed=0):
  """Returns normal variables of a problem; its `init` is not compiled."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(problem.init, jax.random.key(0))
  return jax.tree.map(
    lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype), shapes
  )
