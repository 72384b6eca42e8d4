"""Results that have one item for each seed, as arms report them."""

from typing import Any

import jax
import numpy as np

from jaxseq.types import PyTree


class PerSeed(list):
  """A list of one item for each seed; other lists say nothing of seeds."""


def of(arrays: PyTree) -> Any:
  """Returns arrays with a leading axis of seeds as `PerSeed` lists."""
  return jax.tree.map(
    lambda x: PerSeed(np.asarray(x).tolist()),
    arrays,
    is_leaf=lambda x: isinstance(x, list),
  )
