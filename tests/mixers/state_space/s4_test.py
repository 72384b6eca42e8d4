"""S4 against the original implementations (float64), and its own options."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers.state_space import _dplr
from jaxseq.mixers.state_space import hippo
from jaxseq.mixers.state_space import s4
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close
from tests.mixers.golden_cases import stored
from tests.mixers.golden_cases import subtree


def kernel_problem(data):
  """Configuration and parameters of a case of s4_kernel."""
  H, M = data["B"].shape
  soft = bool(data["dt_transform_softplus"])
  config = s4.Config(
    H, 2 * M, n_ssm=None, dt_transform="softplus" if soft else "exp"
  )
  params = {
    "Lambda_re": jnp.asarray(data["A_real"]),
    "Lambda_im": -jnp.asarray(data["A_imag"]),
    "P": stored(data["P"]),
    "B": stored(data["B"]),
    "C": stored(data["C"]),
    "D": jnp.zeros(H),
    "log_step": jnp.asarray(data["inv_dt"]),
  }
  return config, params


def kernel(config, params, length):
  """The kernel by Woodbury's identity: the response to an impulse."""
  config = dataclasses.replace(config, method="convolution")
  impulse = jnp.zeros((length, config.d_model), params["C"].dtype)
  y, _ = s4.apply(config, params, impulse.at[0].set(1))
  return y.T


def transition(config, params):
  continuous = s4._continuous(config, params, jnp.float64)
  return _dplr.transition(continuous)[0]


def complex_of(pairs):
  return jax.lax.complex(pairs[..., 0], pairs[..., 1])


def parts_of(z):
  return jnp.stack([z.real, z.imag], -1)


def untruncated(A_bar, tilde, length):
  """C with C (I - A_bar^length) = C~."""
  matrix = jnp.eye(A_bar.shape[-1]) - jnp.linalg.matrix_power(A_bar, length)
  c = _dplr.read_out(complex_of(tilde))[..., None]
  c = jnp.linalg.solve(jnp.swapaxes(matrix, -1, -2), c)[..., 0]
  return parts_of(jnp.conj(_dplr.split(c)) / 2)


@pytest.mark.parametrize(
  "case",
  [
    "legs_L25",
    pytest.param("legs_L32", marks=pytest.mark.slow),
    pytest.param("fourier_L24", marks=pytest.mark.slow),
  ],
)
def test_golden_kernel(x64, golden, case):
  """state-spaces/s4: the kernel, C~, and gradients with C~ held."""
  del x64
  data = subtree(golden("ssm/s4_kernel"), f"{case}/")
  config, params = kernel_problem(data)
  length = data["K"].shape[1]
  tilde = stored(data["C_tilde"])

  @jax.jit
  def convert(params):
    C = _dplr.truncate(
      transition(config, params), complex_of(params["C"])[None], length
    )
    return parts_of(C[0])

  close(convert(params), tilde, FORWARD)

  def loss(params, tilde):
    C = untruncated(transition(config, params), tilde, length)
    K = kernel(config, {**params, "C": C}, length)
    return jnp.sum(K * data["w"]), (C, K)

  gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
  (_, (C, K)), (grads, grad_tilde) = gradient(params, tilde)
  close(C, params["C"], FORWARD)
  close(K, data["K"], FORWARD)
  close(K, data["K_materialised"], FORWARD)
  close(grads["log_step"], data["grad_inv_dt"][:, 0], GRADIENT)
  close(grads["Lambda_re"], data["grad_A_real"], GRADIENT)
  close(-grads["Lambda_im"], data["grad_A_imag"], GRADIENT)
  close(grads["P"], data["grad_P"], GRADIENT)
  close(grads["B"], data["grad_B"][0], GRADIENT)
  close(grad_tilde, data["grad_C"][0], GRADIENT)


@pytest.mark.parametrize(
  "case", ["legs_L25", pytest.param("fourier_L24", marks=pytest.mark.slow)]
)
def test_golden_states_and_steps(x64, golden, case):
  """state-spaces/s4: recurrent mode, and what a state adds, by both methods."""
  del x64
  data = subtree(golden("ssm/s4_kernel"), f"{case}/")
  config, params = kernel_problem(data)
  M = config.d_state // 2
  u = jnp.swapaxes(jnp.asarray(data["u"]), 1, 2)
  state0 = jnp.asarray(data["state0"])
  for method in ("convolution", "chunks"):
    apply = jax.jit(
      functools.partial(s4.apply, dataclasses.replace(config, method=method))
    )
    y, state = apply(params, u)
    close(jnp.swapaxes(y, 1, 2), data["step_y"], FORWARD)
    close(state, data["step_state"][..., :M], FORWARD)
    with_state, state = apply(params, u, state0)
    close(jnp.swapaxes(with_state - y, 1, 2), data["K_state"], FORWARD)
    close(state, data["state1"], FORWARD)

  def body(state, u_t):
    y, state = s4.step(config, params, u_t, state)
    return state, y

  state, y = jax.jit(lambda *xs: jax.lax.scan(body, *xs))(
    jnp.zeros_like(state0), jnp.swapaxes(u, 0, 1)
  )
  close(jnp.transpose(y, (1, 2, 0)), data["step_y"], FORWARD)
  close(state, data["step_state"][..., :M], FORWARD)


@pytest.mark.parametrize("case", ["a", "b"])
def test_golden_without_pairs(x64, golden, case):
  """annotated-s4, where all eigenvalues are kept and y = Re(C^H x)."""
  del x64
  data = subtree(golden("ssm/s4_annotated"), f"{case}/")
  L, Lambda, P = int(data["L"]), data["Lambda"], data["P"]
  N = Lambda.size
  power = np.linalg.matrix_power(data["A_bar"], L)
  C = data["C_tilde"].conj() @ np.linalg.inv(np.eye(N) - power)
  # State N - 1 - n is the conjugate of state n times the phase between their
  # eigenvectors, which P shows.
  phase = P[::-1] / P.conj()
  close(np.abs(phase), np.ones(N), 1e-12)
  half = ((C + (C[::-1] * phase).conj()) / 2)[: N // 2]
  config = s4.Config(1, N)
  params = {
    "Lambda_re": jnp.log(-Lambda.real[None, : N // 2]),
    "Lambda_im": jnp.asarray(Lambda.imag[None, : N // 2]),
    "P": stored(P[None, None, : N // 2]),
    "B": stored(data["B"][None, : N // 2]),
    "C": stored(half[None]),
    "D": jnp.zeros(1),
    "log_step": jnp.log(data["step"])[None],
  }
  K = jax.jit(lambda params: kernel(config, params, L))(params)
  close(K[0], data["K"], FORWARD)


def test_rank_two_kernel_is_that_of_the_matrices(x64):
  """LegT, both directions, by Woodbury's identity and by powers."""
  del x64
  config = s4.Config(4, 6, n_ssm=2, init="legt", bidirectional=True)
  params = jax.jit(s4.init, static_argnums=1)(jax.random.key(0), config)
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

  @jax.jit
  def kernels(params):
    system = s4._continuous(config, params, jnp.float64)
    A, B = _dplr.transition(system)
    C = s4._directions(config, params, jnp.float64)
    by_woodbury = _dplr.kernel(system, _dplr.truncate(A, C, 11), 11)
    by_powers = [
      recurrence.siso_kernel(A, B, _dplr.read_out(one), 11) for one in C
    ]
    return by_woodbury, by_powers

  for K, expected in zip(*kernels(params), strict=True):
    # Re(Lambda) = -1e-4 leaves few digits to the difference of two sums.
    np.testing.assert_allclose(K, expected, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", hippo.HIPPO)
def test_starts_from_hippo(x64, name):
  """A_bar and B_bar are the bilinear transform of the HiPPO matrix."""
  del x64
  N, dt = 6, 0.05
  config = s4.Config(1, N, init=name)
  params = jax.jit(s4.init, static_argnums=1)(jax.random.key(0), config)
  params = {**params, "log_step": jnp.log(jnp.full(1, dt))}
  A_bar, B_bar = _dplr.transition(s4._continuous(config, params, jnp.float64))
  A, B = hippo.HIPPO[name](N)
  left = np.linalg.inv(np.eye(N) - dt / 2 * A)
  V = hippo.half_dplr(name, N).V
  # Markov parameters do not depend on the basis: v^T A_bar^l B_bar.
  v = np.random.default_rng(0).normal(size=N)
  c = _dplr.read_out(jnp.asarray(v @ V)[None])
  got = recurrence.siso_kernel(A_bar, B_bar, c, 5)[0]
  matrix, vector = left @ (np.eye(N) + dt / 2 * A), left @ (dt * B)
  expected = [v @ np.linalg.matrix_power(matrix, k) @ vector for k in range(5)]
  # float32 parameters, and eigenvalues kept 1e-4 away from the imaginary axis.
  np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5)


def test_second_direction_excludes_the_present_element():
  config = s4.Config(4, 8, bidirectional=True)
  params = jax.jit(s4.init, static_argnums=1)(jax.random.key(0), config)
  forward, backward = params["C"]
  x = jax.random.normal(jax.random.key(1), (1, 9, 4))
  one_way = dataclasses.replace(config, bidirectional=False)

  @jax.jit
  def run(C, x, D):
    return s4.apply(one_way, {**params, "C": C, "D": D}, x)[0]

  after = run(backward, x[:, ::-1], jnp.zeros(4))[:, ::-1]
  expected = np.array(run(forward, x, params["D"]))
  expected[:, :-1] += after[:, 1:]
  for method in ("convolution", "chunks"):
    chosen = dataclasses.replace(config, method=method)
    y, _ = jax.jit(functools.partial(s4.apply, chosen))(params, x)
    # float32 rounding.
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_shapes_and_scales_follow_the_options():
  for options, shapes in (
    ({}, {"P": (1, 1, 32, 2), "B": (1, 32, 2), "C": (512, 32, 2)}),
    (
      {"init": "legt", "d_state": 8, "n_ssm": None, "bidirectional": True},
      {"P": (2, 512, 4, 2), "B": (512, 4, 2), "C": (2, 512, 4, 2)},
    ),
  ):
    config = s4.Config(512, **options)
    params = jax.jit(s4.init, static_argnums=1)(jax.random.key(0), config)
    n, M = shapes["B"][:2]
    expected = {
      "Lambda_re": (n, M),
      "Lambda_im": (n, M),
      "D": (512,),
      "log_step": (512,),
    } | shapes
    assert {k: v.shape for k, v in params.items()} == expected
    chex.assert_type(list(params.values()), jnp.float32)
    assert set(s4.TRAITS.ssm_parameters) < set(params)
    # Thousands of draws with E |C|^2 = 1.
    np.testing.assert_allclose(np.mean(params["C"] ** 2), 0.5, rtol=0.05)
    dt = np.exp(params["log_step"])
    # float32 rounding of the ends.
    assert np.all((dt > 0.99e-3) & (dt < 0.101))
    assert np.ptp(np.log(dt)) > 4


@pytest.mark.parametrize("transform", ["exp", "softplus", "relu", "none"])
def test_transforms_store_the_same_system(transform):
  config = s4.Config(
    3,
    8,
    real_transform=transform,
    dt_transform="softplus" if transform == "softplus" else "exp",
  )
  plain = s4.Config(3, 8)
  key = jax.random.key(0)
  systems = [
    s4._continuous(c, s4.init(key, c), jnp.float32) for c in (config, plain)
  ]
  # float32 rounding through logarithms.
  chex.assert_trees_all_close(*systems, rtol=1e-5)


def test_rescaled_steps_are_longer_steps():
  params = jax.jit(s4.init, static_argnums=1)(
    jax.random.key(0), s4.Config(3, 8)
  )
  x = jax.random.normal(jax.random.key(1), (1, 5, 3))
  twice = {**params, "log_step": params["log_step"] + np.log(2)}
  apply = jax.jit(s4.apply, static_argnums=0)
  # float32 rounding.
  np.testing.assert_allclose(
    apply(s4.Config(3, 8, step_rescale=2.0), params, x)[0],
    apply(s4.Config(3, 8), twice, x)[0],
    atol=1e-5,
  )


def test_cauchy_matrix_is_not_stored():
  config = s4.Config(32, 64, method="convolution")
  params = jax.eval_shape(lambda: s4.init(jax.random.key(0), config))
  x = jax.ShapeDtypeStruct((1, 8192, 32), jnp.float32)

  def loss(params, x):
    return jnp.sum(s4.apply(config, params, x)[0] ** 2)

  compiled = jax.jit(jax.grad(loss)).lower(params, x).compile()
  # The Cauchy matrix has 32 * 32 * 4097 complex numbers, 32 MiB; the sequence
  # has 1 MiB and the FFTs hold a few times that, twice as long.
  assert compiled.memory_analysis().temp_size_in_bytes < 24 * 2**20
