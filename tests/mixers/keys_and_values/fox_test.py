"""FoX against the original's layer around its naive attention (float64)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import mixers
from jaxseq.mixers.keys_and_values import attention
from jaxseq.mixers.keys_and_values import fox
from tests.mixers.golden_cases import check_layer
from tests.mixers.golden_cases import subtree

_MATRICES = {
  "W_q": "q_proj.weight",
  "W_k": "k_proj.linear.weight",
  "W_v": "v_proj.linear.weight",
  "W_o": "o_proj.weight",
  "W_g": "ogate_proj.weight",
  "W_f": "fgate_proj.weight",
  "W_k_shift": "k_proj.shift_proj.weight",
  "W_v_shift": "v_proj.shift_proj.weight",
}
_VECTORS = {
  "q_norm": "q_norm.weight",
  "k_norm": "k_norm.weight",
  "o_norm": "output_norm.weight",
}


def renamed(data, prefix):
  """Parameters, or their gradients, by our names."""
  arrays = {
    name.replace(".linear", ""): value
    for name, value in subtree(data, prefix).items()
  }
  params = {
    ours: arrays[name.replace(".linear", "")].T
    for ours, name in _MATRICES.items()
    if name.replace(".linear", "") in arrays
  }
  params |= {o: arrays[name] for o, name in _VECTORS.items() if name in arrays}
  for name in ("fgate_proj.bias", "fgate_bias"):
    if name in arrays:
      params["b_f"] = arrays[name]
  return params


def config_of(data, kind=attention.Config):
  """Configuration of a golden layer."""
  options = {name: data[f"cfg/{name}"].item() for name in _NAMES}
  times = "cfg/decay_time_min", "cfg/decay_time_max"
  return kind(
    data["x"].shape[-1],
    heads=options["num_heads"],
    window=16,
    positions="rotary" if options["use_rope"] else "none",
    rotary_base=options["rope_base"],
    qk_norm="each_head" if options["qk_norm"] else "none",
    eps=1e-5,
    gate=options["ogate_act"] if options["use_output_gate"] else "none",
    output_norm=options["use_output_norm"],
    output_eps=options["norm_eps"],
    forget_gate=options["fgate_type"],
    decay_times=tuple(data[name].item() for name in times if name in data)
    or None,
    key_shift=options["use_k_shift"],
    value_shift=options["use_v_shift"],
  )


_NAMES = (
  *("num_heads", "use_rope", "rope_base", "qk_norm", "use_output_gate"),
  *("ogate_act", "use_output_norm", "norm_eps", "fgate_type"),
  *("use_k_shift", "use_v_shift"),
)


@pytest.mark.parametrize("name", ["", "_pro", "_silu_fixed"])
def test_golden_layer(x64, golden, name):
  del x64
  data = golden(f"fox/layer_fox{name}")
  params, expected = (renamed(data, p) for p in ("param/", "grad_param/"))
  check_layer(attention, config_of(data), params, data, expected)


def test_it_is_the_pro_block(x64, golden):
  """Its defaults are those of the golden block, and so are its numbers."""
  del x64
  data = golden("fox/layer_fox_pro")
  config = fox.Config(12, heads=3, window=16)
  assert config == config_of(data, fox.Config)
  params, expected = (renamed(data, p) for p in ("param/", "grad_param/"))
  check_layer(fox, config, params, data, expected)


@pytest.mark.parametrize("gate", ["fixed", "bias_only", "full"])
def test_decay_times_are_those_of_the_gates(x64, gate):
  """With W_f = 0 the share of a head is exp(-1 / T) at each element."""
  del x64
  options = {"forget_gate": gate, "decay_times": (2.0, 32.0), "heads": 3}
  config = attention.Config(6, window=4, positions="none", **options)
  params = attention.init(jax.random.key(0), config)
  # Floats of 32 bits are drawn.
  params = jax.tree.map(lambda x: x.astype(float), params)
  if gate == "full":
    params["W_f"] *= 0
  x = np.random.default_rng(0).normal(size=(5, 6))
  _, state = attention.apply(config, params, x)
  back = -np.arange(3, -1, -1)[:, None]
  np.testing.assert_allclose(
    state.fades, back / np.array([2.0, 8.0, 32.0]), rtol=1e-6
  )


def test_fresh_states_can_be_donated():
  """No two of their arrays are the same one."""
  config = attention.Config(4, heads=2, key_shift=True, value_shift=True)
  state = attention.initial_state(config, (2,))
  run = jax.jit(lambda state: state, donate_argnums=0)
  assert jax.tree.structure(run(state)) == jax.tree.structure(state)


def test_open_gates_are_plain_attention():
  """Where gates keep all, outputs are those of attention without one."""
  config = attention.Config(
    6, heads=2, forget_gate="fixed", decay_times=(1e12, 1e12), window=3
  )
  plain = attention.Config(6, heads=2, window=3)
  params = attention.init(jax.random.key(0), plain)
  x = np.random.default_rng(0).normal(size=(2, 9, 6)).astype("f")
  y, _ = attention.apply(config, params, x)
  expected, _ = attention.apply(plain, params, x)
  np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-7)


def test_weights_of_elements_fade(x64):
  """The maps of `weights` are the shares that a forget gate leaves."""
  del x64
  config = attention.Config(
    4, heads=1, positions="none", forget_gate="fixed", decay_times=(2.0, 2.0)
  )
  params = attention.init(jax.random.key(0), config)
  x = np.zeros((5, 4))
  maps = attention.weights(config, params, jnp.asarray(x))[0]
  expected = np.tril(np.exp((np.arange(5) - np.arange(5)[:, None]) / 2))
  expected /= expected.sum(axis=-1, keepdims=True)
  np.testing.assert_allclose(maps, expected, rtol=1e-12)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"forget_gate": "fixed"},
      r"decay_times: got None, expected \(shortest, longest\) with forget",
    ),
    (
      {"forget_gate": "full", "decay_times": (3.0, 2.0)},
      r"decay_times: got \(3.0, 2.0\), expected \(shortest, longest\), 0 <",
    ),
    (
      {"forget_gate": "full", "select": "hip"},
      "forget_gate: got 'full', expected 'none' with select or key_format",
    ),
    (
      {"key_shift": True, "bidirectional": True},
      "bidirectional: got True, expected False with a forget_gate, key_shift",
    ),
  ],
)
def test_options_that_do_not_fit_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    mixers.make_config("attention", d_model=4, **options)


def test_blocks_that_see_all_of_themselves_forget_nothing():
  config = attention.Config(6, heads=2, forget_gate="full")
  params = attention.init(jax.random.key(0), config)
  with pytest.raises(ValueError, match="forget_gate: got 'full', expected 'no"):
    attention.apply(config, params, jnp.ones((1, 4, 6)), blocks=(1, 3))
