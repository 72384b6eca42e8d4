"""One Flax module for all mixers."""

import functools
import inspect
from typing import Any

from absl import logging
from flax import errors
from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import mixers
from jaxseq.mixers.keys_and_values import thin_keys
from jaxseq.nn import dense
from jaxseq.nn import experts
from jaxseq.nn import masks
from jaxseq.nn import recurrent
from jaxseq.nn import zamba_block
from jaxseq.types import PyTree


class SequenceMixer(recurrent.Recurrent):
  """Binds a mixer's pure functions to Flax.

  The module's parameters are the mixer's dict: the mixer's `apply` accepts
  `variables["params"]`, and the module accepts the result of its `init`.

  Attributes:
    config: Config of a mixer.
    dtype: dtype of the activations; float64 inputs stay float64.
    time_axis: axis of the current mesh (`jax.set_mesh`) over whose devices
      `__call__` splits time; "" for no split. Without such a mesh, and for
      lengths that it does not divide, every device computes all elements.
    time_scheme: `scheme` of the mixer's `apply` for that split; "" for its
      default, and for mixers with a single scheme.
  """

  config: Any
  dtype: jax.typing.DTypeLike = "float32"
  time_axis: str = ""
  time_scheme: str = ""

  def __call__(
    self,
    x: jax.Array,
    state: PyTree = None,
    reset: jax.Array | None = None,
    lengths: jax.Array | None = None,
    shared: dict[str, jax.Array] | None = None,
    **options: Any,
  ) -> tuple[Any, ...]:
    """Runs over a sequence.

    Args:
      x: (*batch, time, d_model).
      state: state before the first element; a fresh one if None.
      reset: (*batch, time) bool, or None.
      lengths: (*batch,) numbers of valid elements; all are valid if None.
        Mixers with an option `mask`, all those that may see later elements,
        ignore the padding; the others read it as later elements.
      shared: if the mixer `shares`, values of the layers below, (*batch, time,
        n) each; None for a single layer.
      **options: keyword options of the mixer's `apply`.

    Returns:
      y of x's shape, and the state after the last element; with `shared` also
      the values for the layers above.
    """
    module = functions_of(self.config, state)
    apply = module.apply if shared is None else module.apply_shared
    valid = None if lengths is None else masks.inside(x.shape[-2], lengths)
    if valid is not None and "mask" in _options_of(apply):
      mask = options.get("mask")
      options["mask"] = valid if mask is None else mask & valid
    if hasattr(module, "auxiliary_loss"):
      # Undefined values in the padding must not have gradients.
      seen = x if valid is None else jnp.where(valid[..., None], x, 0)
      seen = seen.astype(dense.activation_dtype(self.dtype, x))
      arguments = self.config, self._params(), seen, valid
      loss = functools.partial(module.auxiliary_loss, *arguments)
      experts.add_loss(self, "auxiliary", loss)
    values = () if shared is None else (shared,)
    return self._run(apply, x, state, reset, values, options)

  @property
  def shares(self) -> bool:
    """True if the mixer has values that the layers of a stack share."""
    return hasattr(mixers.module_of(self.config), "apply_shared")

  def step(
    self,
    x: jax.Array,
    state: PyTree,
    reset: jax.Array | None = None,
    shared: dict[str, jax.Array] | None = None,
    **options: Any,
  ) -> tuple[Any, ...]:
    """Runs over one element; `__call__` without the time axis."""
    module = functions_of(self.config, state)
    x = x.astype(dense.activation_dtype(self.dtype, x))
    arguments = self.config, self._params(), x, state, reset
    if shared is None:
      return module.step(*arguments, **options)
    return module.step_shared(*arguments, shared, **options)

  @linen.nowrap
  def _fresh(self, batch_shape, dtype, variables):
    params = variables.get("params")
    return mixers.fresh_state(self.config, batch_shape, dtype, params)

  def _splits(self, x) -> bool:
    """Returns whether time is split over devices."""
    sizes = jax.sharding.get_abstract_mesh().shape
    count = sizes.get(self.time_axis, 1)
    if count == 1 or self.is_initializing():
      return False
    if x.shape[-2] % count:
      logging.warning(
        "%d elements are not split over the %d devices of mesh axis %r: every "
        "one of these works on all of them",
        x.shape[-2],
        count,
        self.time_axis,
      )
      return False
    return True

  def _run(self, apply, x, state, reset, shared, options):
    """Runs the mixer's `apply`, or `apply_shared` with the shared values."""
    x = x.astype(dense.activation_dtype(self.dtype, x))
    params = self._params()
    if self._splits(x):
      return self._split(apply, params, x, state, reset, shared, options)
    return apply(self.config, params, x, state, reset, *shared, **options)

  def _split(self, apply, params, x, state, reset, shared, options):
    """Runs `apply` on each device, on its chunk of the time."""
    if state is None:
      wide = jnp.promote_types(x.dtype, jnp.float32)
      state = self._fresh(x.shape[:-2], wide, {"params": params})
    whole = jax.sharding.PartitionSpec()
    flags = jax.sharding.PartitionSpec(*[None] * (x.ndim - 2), self.time_axis)
    features = jax.sharding.PartitionSpec(*flags, None)
    arrays, fixed = split_options(options)
    if self.time_scheme:
      fixed.setdefault("scheme", self.time_scheme)
    # Options with a value per element, such as the gaps of S5, are split.
    split = jax.tree.map(
      lambda leaf: flags if jnp.shape(leaf) == x.shape[:-1] else whole, arrays
    )

    apply = functools.partial(apply, self.config, axis=self.time_axis, **fixed)
    values = (features,) * len(shared)
    return jax.shard_map(
      lambda *part: apply(*part[:-1], **part[-1]),
      in_specs=(whole, features, whole, flags, *values, split),
      out_specs=(features, whole, *values),
      axis_names={self.time_axis},
    )(params, x, state, reset, *shared, arrays)

  def _params(self) -> dict[str, Any]:
    """Returns the mixer's parameters; draws them while initializing."""
    params = self.variables.get("params")
    if params:
      return params
    module = mixers.module_of(self.config)
    if self.is_initializing():
      # The mixer itself draws all of them with one key.
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


def parameter_shapes(
  network: linen.Module, *inputs: jax.ShapeDtypeStruct
) -> dict[str, PyTree]:
  """Returns the shapes and dtypes of a network's parameters.

  They are those of `jax.eval_shape(network.init, ...)`, in a fraction of the
  time: the mixers draw their parameters, but do not run.

  Args:
    network: module whose outputs do not matter, such as a `SequenceNetwork`.
    *inputs: shapes and dtypes of its inputs.
  """

  def make(*inputs):
    with linen.intercept_methods(_draw_alone):
      return network.init(jax.random.key(0), *inputs)

  return jax.eval_shape(make, *inputs)["params"]


def _draw_alone(method, arguments, options, context):
  """Replaces a mixer's `__call__` by its inputs, with zeros as parameters."""
  module = context.module
  if not isinstance(module, SequenceMixer) or context.method_name != "__call__":
    return method(*arguments, **options)
  config = module.config
  for name, leaf in _drawn(mixers.module_of(config).init, config).items():
    module.put_variable("params", name, jnp.zeros(leaf.shape, leaf.dtype))
  x, *rest = arguments
  if isinstance(config, zamba_block.Config):
    # A shared block's outputs are half as wide as its inputs.
    x = x[..., : config.d_model // 2]
  names = "state", "reset", "lengths", "shared"
  shared = (dict(zip(names, rest)) | options).get("shared")
  return (x, ()) if shared is None else (x, (), shared)


@functools.lru_cache(maxsize=512)
def _drawn(init, config):
  """Returns the shapes and dtypes of a mixer's parameters."""
  return jax.eval_shape(lambda: init(jax.random.key(0), config))


def functions_of(config: Any, state: PyTree) -> Any:
  """Returns the module whose functions continue from a mixer's state."""
  return thin_keys if thin_keys.is_state(state) else mixers.module_of(config)


@functools.cache
def _options_of(apply) -> frozenset[str]:
  """Returns the names of a function's arguments."""
  return frozenset(inspect.signature(apply).parameters)


def split_options(
  options: dict[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Splits a mixer's options into those with arrays and those without."""
  arrays, fixed = {}, {}
  for name, value in (options or {}).items():
    leaves = jax.tree.leaves(value)
    holds = any(isinstance(leaf, (jax.Array, np.ndarray)) for leaf in leaves)
    (arrays if holds else fixed)[name] = value
  return arrays, fixed
