"""NSA's layer against flash-linear-attention's (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq.mixers.keys_and_values import nsa
from tests.mixers.golden_cases import check_layer
from tests.mixers.golden_cases import subtree

_NAMES = {f"W_{name}": f"{name}_proj.weight" for name in "qkvgo"}


def _renamed(data, prefix):
  arrays = subtree(data, prefix)
  return {ours: arrays[name].T for ours, name in _NAMES.items()}


def _config(data, **options):
  return nsa.Config(
    int(data["cfg/hidden_size"]),
    heads=int(data["cfg/num_heads"]),
    kv_heads=int(data["cfg/num_kv_heads"]),
    d_head=int(data["cfg/head_dim"]),
    block_size=int(data["cfg/block_size"]),
    block_count=int(data["cfg/block_counts"]),
    window=int(data["cfg/window_size"]),
    rotary_base=float(data["cfg/rope_theta"]),
    **options,
  )


def test_golden_layer(x64, golden):
  del x64
  data = golden("nsa/layer_nsa")
  config = _config(data, capacity=24)
  params = _renamed(data, "param/")
  check_layer(nsa, config, params, data, _renamed(data, "grad_param/"))


def test_episodes_in_a_row_are_as_if_alone(x64, golden):
  """A reset in the middle of a block, with original numbers on both sides."""
  del x64
  data = golden("nsa/layer_nsa")
  params, time = _renamed(data, "param/"), data["x"].shape[1]
  x = jnp.concatenate([data["x"], data["x"]], axis=1)
  reset = np.zeros(x.shape[:2], bool)
  reset[:, time] = True
  run = jax.jit(nsa.apply, static_argnums=0)
  y, _ = run(_config(data, capacity=24), params, x, None, reset)
  for part in jnp.split(y, 2, axis=1):
    np.testing.assert_allclose(part, data["y"], atol=1e-9)


def test_what_is_beyond_the_capacity_is_forgotten(x64):
  """Whole blocks: elements of the last two alone, and no earlier ones."""
  del x64
  config = nsa.Config(
    6, heads=2, block_size=4, block_count=3, window=3, capacity=8
  )
  params = nsa.init(jax.random.key(0), config)
  x = np.random.default_rng(0).normal(size=(22, 6))

  @jax.jit
  def slope(x):
    """Of the element at 21, the second of its block, by all elements."""
    return jax.jacrev(lambda x: nsa.apply(config, params, x)[0][21])(x)

  seen = np.any(np.asarray(slope(x)) != 0, axis=(0, 2))
  np.testing.assert_array_equal(np.flatnonzero(seen), np.arange(16, 22))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"block_count": 2}, "block_count: got 2, expected"),
    ({"capacity": 100}, "capacity: got 100, expected a multiple of block_size"),
    ({"capacity": 512}, "capacity: got 512, .* at least 575"),
    ({"heads": 4, "kv_heads": 3}, "kv_heads: got 3"),
  ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    mixers.make_config("nsa", d_model=8, **options)
