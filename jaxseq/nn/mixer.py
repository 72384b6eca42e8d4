"""One Flax module for every mixer."""

from typing import Any

from flax import errors
from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import mixers
from jaxseq.nn import dense


class SequenceMixer(linen.Module):
  """Binds a mixer's pure functions to Flax.

  The module's parameters are the mixer's own dict: `variables["params"]` can be
  handed to the mixer's `apply`, and the result of its `init` can be used here.

  Attributes:
    config: Config of some mixer.
    dtype: dtype of the activations; float64 inputs stay float64.
  """

  config: Any
  dtype: Any = "float32"

  def __call__(
    self,
    x: jax.Array,
    state: Any = None,
    reset: jax.Array | None = None,
    **options: Any,
  ) -> tuple[jax.Array, Any]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      state: state before the first element; a fresh one if None.
      reset: (*batch, time) bool, or None.
      **options: keyword options of the mixer's own `apply`.

    Returns:
      y of x's shape, and the state after the last element.
    """
    module = mixers.module_of(self.config)
    x = x.astype(dense.activation_dtype(self.dtype, x))
    return module.apply(self.config, self._params(), x, state, reset, **options)

  def step(
    self,
    x: jax.Array,
    state: Any,
    reset: jax.Array | None = None,
    **options: Any,
  ) -> tuple[jax.Array, Any]:
    """Runs over one element; `__call__` without the time axis."""
    module = mixers.module_of(self.config)
    x = x.astype(dense.activation_dtype(self.dtype, x))
    return module.step(self.config, self._params(), x, state, reset, **options)

  @linen.nowrap
  def initial_state(
    self, batch_shape: tuple[int, ...] = (), dtype: Any = jnp.float32
  ) -> Any:
    """Returns the state of a fresh sequence; works on an unbound module."""
    module = mixers.module_of(self.config)
    return module.initial_state(self.config, batch_shape, dtype)

  def _params(self) -> dict[str, Any]:
    params = self.variables.get("params")
    if params:
      return params
    module = mixers.module_of(self.config)
    if self.is_initializing():
      # Drawn together, with one key, by the mixer itself.
      params = module.init(self.make_rng("params"), self.config)
      for name, value in params.items():
        self.put_variable("params", name, value)
      return params
    expected = jax.eval_shape(
      lambda key: module.init(key, self.config), jax.random.key(0)
    )
    for name in expected:
      raise errors.ScopeParamNotFoundError(name, self.scope.path_text)
    return {}
