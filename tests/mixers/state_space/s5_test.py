"""S5 against the original implementations (float64), and its own options."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq.mixers.state_space import s5
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import subtree

CASES = {
  "zoh": {},
  "bilinear": {"discretization": "bilinear"},
  "noconj": {"conj_sym": False},
  "bidir": {"bidirectional": True},
  "bidir_cn": {"bidirectional": True, "c_init": "complex_normal"},
  "clip": {"clip_eigs": True},
  "rescale2": {"step_rescale": 2.0},
}


def config_for(params, **options):
  P, H = params["B"].shape[:2]
  size = P if options.get("conj_sym") is False else 2 * P
  return s5.Config(d_model=H, ssm_size=size, blocks=1, **options)


@pytest.mark.parametrize(
  "case",
  [
    pytest.param(
      case,
      marks=pytest.mark.slow if case in ("bidir_cn", "rescale2") else (),
    )
    for case in CASES
  ],
)
def test_golden_layer(x64, golden, case):
  """lindermanlab/S5: outputs, and the gradients of sum(y * w)."""
  del x64
  data = golden("ssm/s5_ssm")
  params = subtree(data, f"{case}/param/")
  config = config_for(params, **CASES[case])

  def loss(params, u):
    y, _ = s5.apply(config, params, u)
    return jnp.sum(y * data["w"]), y

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, y), (grads, grad_u) = gradient(params, data["u"])
  close(y, data[f"{case}/y"], FORWARD)
  close(grad_u, data[f"{case}/grad/u"], GRADIENT)
  for name in params:
    close(grads[name], data[f"{case}/grad/{name}"], GRADIENT)


@pytest.mark.parametrize("case", ["uni", "bidir"])
def test_golden_irregular_steps(x64, golden, case):
  """The pendulum branch of lindermanlab/S5."""
  del x64
  data = golden("ssm/s5_varstep")
  params = subtree(data, f"{case}/param/")
  config = config_for(params, bidirectional=case == "bidir")
  gaps = np.concatenate([[1.0], data[f"{case}/timesteps"]])
  y, _ = jax.jit(s5.apply, static_argnums=0)(
    config, params, data[f"{case}/u"], gaps=gaps
  )
  close(y, data[f"{case}/y"], FORWARD)


@pytest.mark.parametrize(
  "case",
  [
    "a",
    "b",
    pytest.param("noreset", marks=pytest.mark.slow),
    pytest.param("allreset", marks=pytest.mark.slow),
  ],
)
def test_golden_resets(x64, golden, case):
  """The public in-context RL code, with all gradients."""
  del x64
  data = golden(f"icrl/s5_reset_ssm_{case}")
  params = subtree(data, "params/")
  config = config_for(
    params,
    discretization=str(data["opt_discretization"]),
    clip_eigs=bool(data["opt_clip_eigs"]),
  )

  def loss(params, x, h0_re, h0_im):
    y, h1 = s5.apply(
      config,
      params,
      x[None],
      jax.lax.complex(h0_re, h0_im),
      jnp.asarray(data["resets"], bool)[None],
    )
    value = jnp.sum(y[0] * data["w"])
    return value + jnp.sum(jnp.real(h1 * jnp.conj(data["wh"]))), (y[0], h1)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True))
  (value, (y, h1)), grads = gradient(
    params, data["x"], data["h0"].real, data["h0"].imag
  )
  close(value, data["loss"], FORWARD)
  close(y, data["y"], FORWARD)
  close(h1, data["h1"], FORWARD)
  for name in params:
    close(grads[0][name], data[f"grad/{name}"], GRADIENT)
  for grad, name in zip(grads[1:], ("grad_x", "grad_h0_re", "grad_h0_im")):
    close(grad, data[name], GRADIENT)


def test_golden_initial_eigenvalues_and_projections(golden):
  """B and C of the original, whose eigenvectors the golden set carries."""
  data = golden("ssm/s5_init")
  # With the original's V the map from raw draws to parameters is ours.
  V, V_inv = data["blocks/V"], data["blocks/Vinv"]
  B = V_inv @ data["blocks/B_raw"]
  C = (data["blocks/C_raw"][..., 0] + 1j * data["blocks/C_raw"][..., 1]) @ V
  close(np.stack([B.real, B.imag], -1), data["blocks/B_param"], FORWARD)
  close(np.stack([C.real, C.imag], -1), data["blocks/C_param"], FORWARD)
  config = s5.Config(5, ssm_size=16, blocks=2)
  params = s5.init(jax.random.key(0), config)
  Lambda = params["Lambda_re"] + 1j * params["Lambda_im"]
  # float32 parameters.
  close(Lambda, data["blocks/Lambda"], 1e-6)


@pytest.mark.parametrize(
  ("c_init", "std"),
  [
    # Fan-in as the initializers of the original see it; the projection onto
    # orthonormal eigenvectors keeps the variance of a complex draw.
    ("trunc_standard_normal", 1 / np.sqrt(256)),
    ("lecun_normal", 1 / np.sqrt(128 * 256)),
    ("complex_normal", np.sqrt(0.5)),
  ],
)
def test_initial_scales(c_init, std):
  config = s5.Config(128, ssm_size=256, blocks=4, c_init=c_init)
  params = jax.jit(s5.init, static_argnums=1)(jax.random.key(1), config)
  # 32,768 draws: the estimate is good to half a per cent.
  np.testing.assert_allclose(np.std(params["C"]), std, rtol=0.03)
  # B is real before it is projected: half of its variance in each part.
  np.testing.assert_allclose(np.std(params["B"]), np.sqrt(0.5 / 256), rtol=0.03)
  dt = np.exp(params["log_step"])
  assert np.all((dt >= 0.001) & (dt <= 0.1))


def test_shapes_follow_the_options():
  key = jax.random.key(0)
  for options, shapes in (
    ({}, {"C": (6, 8, 2)}),
    ({"bidirectional": True}, {"C1": (6, 8, 2), "C2": (6, 8, 2)}),
    (
      {"bidirectional": True, "c_init": "complex_normal"},
      {"C": (6, 16, 2)},
    ),
  ):
    config = s5.Config(6, ssm_size=16, blocks=2, **options)
    params = s5.init(key, config)
    expected = {
      "Lambda_re": (8,),
      "Lambda_im": (8,),
      "B": (8, 6, 2),
      "D": (6,),
      "log_step": (8, 1),
    } | shapes
    assert {k: v.shape for k, v in params.items()} == expected
    chex.assert_type(list(params.values()), jnp.float32)


def test_gaps_of_one_are_no_gaps_and_steps_take_gaps():
  config = s5.Config(4, ssm_size=8, blocks=1)
  key_p, key_x, key_g, key_r = jax.random.split(jax.random.key(0), 4)
  params = jax.jit(s5.init, static_argnums=1)(key_p, config)
  apply = jax.jit(s5.apply, static_argnums=0)
  step = jax.jit(s5.step, static_argnums=0)
  x = jax.random.normal(key_x, (2, 9, 4))
  reset = jax.random.bernoulli(key_r, 0.3, (2, 9))
  gaps = jax.random.uniform(key_g, (2, 9), minval=0.5, maxval=3.0)
  # float32 rounding, here and below.
  close_32 = functools.partial(chex.assert_trees_all_close, atol=1e-5)
  close_32(
    apply(config, params, x, None, reset, gaps=jnp.ones((2, 9))),
    apply(config, params, x, None, reset),
  )
  whole, final = apply(config, params, x, None, reset, gaps=gaps)
  state, ys = s5.initial_state(config, (2,)), []
  for t in range(9):
    y, state = step(
      config, params, x[:, t], state, reset[:, t], gaps=gaps[:, t]
    )
    ys.append(y)
  close_32((jnp.stack(ys, 1), state), (whole, final))


def test_bad_gaps_are_named():
  config = s5.Config(4, ssm_size=8, blocks=1)
  params = s5.init(jax.random.key(0), config)
  with pytest.raises(ValueError, match=r"gaps: got .*, expected \(2, 3\)"):
    s5.apply(config, params, jnp.ones((2, 3, 4)), gaps=jnp.ones(3))
