"""HGRN2 against flash-linear-attention (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.matrix_states import hgrn2
from tests.mixers import golden_cases
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import close

_NAMES = {
  "W_q": "q_proj.weight",
  "W_f": "f_proj.weight",
  "W_i": "i_proj.weight",
  "norm_scale": "g_norm.weight",
  "W_o": "o_proj.weight",
}


def parameters(data, prefix):
  """The original's parameters, or their gradients, by our names."""
  return {ours: data[prefix + name].T for ours, name in _NAMES.items()}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param("layer_hgrn2", marks=pytest.mark.slow),
    "layer_hgrn2_lower_bound",
  ],
)
def test_golden_layer(x64, golden, name):
  del x64
  data = golden(f"gla_hgrn2/{name}")
  config = hgrn2.Config(
    int(data["cfg/hidden_size"]),
    heads=int(data["cfg/num_heads"]),
    d_key=int(data["cfg/expand_ratio"]),
    eps=float(data["cfg/norm_eps"]),
  )
  params, expected = (
    parameters(data, prefix) for prefix in ("param/", "grad_param/")
  )
  options = {"lower_bound": data.get("call/lower_bound")}
  state = golden_cases.check_layer(
    hgrn2, config, params, data, expected, **options
  )
  close(state.S, data["state"], FORWARD)


def test_a_constant_bound_is_that_of_every_channel(x64):
  del x64
  bounded = hgrn2.Config(6, heads=2, lower_bound=0.25)
  params = hgrn2.init(jax.random.key(0), bounded)
  x = jax.random.normal(jax.random.key(1), (5, 6), jnp.float64)
  y, _ = hgrn2.apply(bounded, params, x)
  plain = hgrn2.Config(6, heads=2)
  given, _ = hgrn2.apply(plain, params, x, lower_bound=jnp.full((6,), 0.25))
  np.testing.assert_array_equal(y, given)


def test_bounds_grow_from_zero_and_stay_below_one():
  gamma = jax.random.normal(jax.random.key(0), (5, 3))
  bounds = np.asarray(hgrn2.lower_bounds(gamma))
  np.testing.assert_array_equal(bounds[0], 0)
  assert np.all(np.diff(bounds, axis=0) > 0)
  assert np.all(bounds < 1)
  # Zeros: steps of one in the number of layers.
  np.testing.assert_allclose(
    hgrn2.lower_bounds(jnp.zeros((4, 1)))[:, 0], np.arange(4) / 4, rtol=1e-6
  )


def test_gates_of_any_size_have_finite_gradients():
  """Also of the bounds of a network's first layer, which are 0."""
  config = hgrn2.Config(2, heads=1)
  params = hgrn2.init(jax.random.key(0), config)
  params["W_f"] = jnp.eye(2)
  sizes = jnp.array([-200.0, -90.0, -3.0, 0.0, 3.0, 90.0, 200.0])
  x = jnp.stack([sizes, sizes[::-1]], axis=-1)

  def loss(params, x, gamma):
    bounds = hgrn2.lower_bounds(gamma)
    outputs = [
      hgrn2.apply(config, params, x, lower_bound=bound)[0] for bound in bounds
    ]
    return jnp.sum(jnp.square(jnp.stack(outputs)))

  grads = jax.jit(jax.grad(loss, (0, 1, 2)))(params, x, jnp.zeros((2, 2)))
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


def test_bounds_of_another_shape_are_named():
  config = hgrn2.Config(6)
  params = hgrn2.init(jax.random.key(0), config)
  with pytest.raises(ValueError, match=r"lower_bound: got .*, expected \(6,\)"):
    hgrn2.apply(config, params, jnp.ones((3, 6)), lower_bound=jnp.zeros(2))
