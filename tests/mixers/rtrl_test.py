"""Traces of diagonal recurrences: gradients of a whole stream, in windows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxseq import mixers
from jaxseq.mixers import rtrl

# Of sums of a few dozen numbers in float64.
EXACT = {"rtol": 1e-12, "atol": 1e-14}


def _windows(config, params, x, reset, weights, length):
  """The sum of the gradients of all windows, and the last state."""

  @jax.jit
  def one(params, part, state):
    def loss(params):
      x, reset, weights = part
      y, after = rtrl.apply(config, params, x, state, reset)
      return jnp.sum(weights * y), after

    return jax.grad(loss, has_aux=True)(params)

  state = rtrl.initial_state(config, x.shape[:-2], x.dtype)
  total = jax.tree.map(jnp.zeros_like, params)
  for t in range(0, x.shape[-2], length):
    piece = np.s_[:, t : t + length]
    part = x[piece], reset[piece], weights[piece]
    gradient, state = one(params, part, state)
    total = jax.tree.map(jnp.add, total, gradient)
  return total, state


def test_golden(x64, golden):
  """Forward sensitivities, and gradients equal to backpropagation's."""
  del x64
  data = golden("rl_more/rtrl_lru")
  x, reset = data["x"], data["reset"]
  width, states = x.shape[-1], len(data["nu_log"])
  config = mixers.make_config("lru", d_model=width, d_state=states)
  decay = np.exp(-np.exp(data["nu_log"]) + 1j * np.exp(data["theta_log"]))
  gamma = np.sqrt(1 - np.abs(decay) ** 2)
  # What is read out has two numbers there, and x is not passed on.
  rows = width - data["C"].shape[0]
  C = np.pad(data["C"], ((0, rows), (0, 0)))
  params = {name: data[name] for name in ("nu_log", "theta_log")}
  params |= {"gamma_log": np.log(gamma), "D": np.zeros(width)}
  params |= {"B_re": data["B"].real, "B_im": data["B"].imag}
  params |= {"C_re": C.real, "C_im": C.imag}
  y, _ = mixers.lru.apply(config, params, x, None, reset)
  target = np.pad(data["target"], ((0, 0), (0, 0), (0, rows)))
  np.testing.assert_allclose(
    0.5 * jnp.sum((y - target) ** 2), data["loss"], rtol=1e-13
  )
  # The loss is linearized, so that windows may see a part of it each.
  total, state = _windows(
    rtrl.Config(config), params, x, reset, np.asarray(y) - target, 3
  )
  # There gamma is no parameter, and a part of how nu acts.
  size = np.exp(-2 * np.exp(data["nu_log"]))
  slope = np.exp(data["nu_log"]) * size / (1 - size)
  nu = total["nu_log"] + slope * total["gamma_log"]
  np.testing.assert_allclose(nu, data["grad_nu_log"], **EXACT)
  theta = total["theta_log"]
  np.testing.assert_allclose(theta, data["grad_theta_log"], **EXACT)
  # The conjugate is of their convention.
  for name in "BC":
    grad = total[f"{name}_re"] + 1j * total[f"{name}_im"]
    want = data[f"grad_{name}"]
    np.testing.assert_allclose(grad[: len(want)], want, **EXACT)
  inner = (
    -np.exp(data["nu_log"]) * decay,
    1j * np.exp(data["theta_log"]) * decay,
  )
  traces = data["trace_lambda_last"]
  for name, slope in zip(("nu_log", "theta_log"), inner):
    np.testing.assert_allclose(state.traces[name], slope * traces, **EXACT)
  traces = gamma * data["trace_gamma_last"]
  np.testing.assert_allclose(state.traces["gamma_log"], traces, **EXACT)
  traces = data["trace_B_last"]
  np.testing.assert_allclose(state.traces["B_re"], traces, **EXACT)
  np.testing.assert_allclose(state.traces["B_im"], 1j * traces, **EXACT)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("lru", {"d_state": 5}),
    ("s5", {"ssm_size": 4, "blocks": 1}),
    ("rtu", {"units": 3}),
    ("rtu", {"linear": False, "activation": "tanh"}),
    ("mingru", {"d_hidden": 3}),
    ("minlstm", {}),
    ("rglru", {"d_hidden": 4, "heads": 2, "d_conv": 2}),
    ("rglru", {"d_conv": 1}),
  ],
)
def test_windows_give_the_gradient_of_the_whole(x64, name, options):
  del x64
  config = mixers.make_config(name, d_model=4, **options)
  module = mixers.get(name)
  params = module.init(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: leaf.astype("float64"), params)
  rng = np.random.default_rng(0)
  x, weights = rng.normal(size=(2, 2, 8, 4))
  reset = np.zeros((2, 8), bool)
  reset[0, 3] = reset[1, 0] = True

  @functools.partial(jax.jit, static_argnums=0)
  def whole(apply, params):
    y, _ = apply(params, x, None, reset)
    return jnp.sum(weights * y)

  apply = functools.partial(module.apply, config)
  want = jax.grad(whole, argnums=1)(apply, params)
  arguments = params, x, reset, weights
  total, state = _windows(rtrl.Config(config), *arguments, 2)
  assert want.keys() == total.keys()
  for key, leaf in want.items():
    np.testing.assert_allclose(total[key], leaf, **EXACT, err_msg=key)
  # What reaches the state has traces, and these are not zero.
  assert all(jax.tree.leaves(jax.tree.map(np.any, state.traces)))


def _remembered(rows, steps, delay):
  """Bits, and those that were shown `delay` elements before."""
  bits = np.random.default_rng(0).choice([-1.0, 1.0], (rows, steps))
  late = np.pad(bits, ((0, 0), (delay, 0)))[:, :steps]
  return bits.astype("f"), late.astype("f")


def _streamed(config, updates, length=2, rows=16, delay=5):
  """Mean squared errors of a model that learns from a stream in windows."""
  module = mixers.module_of(config)
  params = module.init(jax.random.key(0), config)
  stream = _remembered(rows, updates * length, delay)
  cut = [
    np.moveaxis(part.reshape(rows, updates, length), 1, 0) for part in stream
  ]
  optimizer = optax.adam(1e-2)

  def update(carry, window):
    params, opt_state, state = carry
    bits, late = window
    x = jnp.zeros((*bits.shape, config.d_model)).at[..., 0].set(bits)

    def loss(params):
      y, after = module.apply(config, params, x, state)
      return jnp.mean((y[..., 0] - late) ** 2), after

    (error, state), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    changes, opt_state = optimizer.update(gradient, opt_state)
    params = optax.apply_updates(params, changes)
    return (params, opt_state, state), error

  state = module.initial_state(config, (rows,))
  carry = params, optimizer.init(params), state
  return jax.jit(lambda *x: jax.lax.scan(update, *x))(carry, tuple(cut))[1]


def test_a_stream_is_learned_that_windows_cut():
  # Windows of two elements, a bit of six elements before, and fresh decays that
  # leave 0.4 ** 6 of it.
  config = mixers.make_config("lru", d_model=2, d_state=8, r_min=0.2, r_max=0.4)
  cut = _streamed(config, 2000, delay=6)
  whole = _streamed(rtrl.Config(config), 2000, delay=6)
  # The same at first; then 1.0, which is chance, and 0.03 when it was written.
  np.testing.assert_allclose(cut[0], whole[0], rtol=1e-5)
  assert cut[-500:].mean() > 0.9
  assert whole[-500:].mean() < 0.15


def test_other_recurrences_are_refused():
  with pytest.raises(ValueError, match="rtrl: mixer: got 'gru', expected one"):
    rtrl.Config(mixers.make_config("gru", d_model=2))
  both = mixers.make_config("s5", d_model=2, bidirectional=True)
  with pytest.raises(ValueError, match="rtrl: bidirectional: got True"):
    rtrl.Config(both)
  config = rtrl.Config(mixers.make_config("lru", d_model=2))
  with pytest.raises(ValueError, match="axis: got 'time', expected None"):
    rtrl.apply(config, {}, jnp.ones((1, 2)), axis="time")
