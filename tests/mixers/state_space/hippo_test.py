"""HiPPO-LegS and its diagonalisation against the original S5 code."""

import functools

import numpy as np
import pytest

from jaxseq.mixers.state_space import hippo


@pytest.mark.parametrize("N", [4, 8, 16])
def test_golden_legs(golden, N):
  data = golden("ssm/s5_init")
  A, B = hippo.legs(N)
  form = hippo.legs_dplr(N)
  # float64 on both sides.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
  close(A, data[f"N{N}/A"])
  close(B, data[f"N{N}/B_real"])
  close(form.Lambda, data[f"N{N}/Lambda"])
  # Eigenvectors have arbitrary phases: compare what does not depend on them.
  close(np.abs(form.P), np.abs(data[f"N{N}/P"]))
  close(np.abs(form.B), np.abs(data[f"N{N}/B"]))
  close(form.B * form.P.conj(), data[f"N{N}/B"] * data[f"N{N}/P"].conj())


@pytest.mark.parametrize("N", [1, 2, 64, 255])
def test_the_form_gives_hippo_back(N):
  A, B = hippo.legs(N)
  Lambda, P, B_tilde, V = hippo.legs_dplr(N)
  rebuilt = V @ (np.diag(Lambda) - np.outer(P, P.conj())) @ V.conj().T
  # The eigenvalues of N = 255 reach 2e4; float64 keeps 1e-12 of that.
  np.testing.assert_allclose(rebuilt, A, atol=1e-8)
  np.testing.assert_allclose(V @ B_tilde, B, atol=1e-10)


def test_golden_blocks(golden):
  data = golden("ssm/s5_init")
  size, blocks = int(data["blocks/ssm_size"]), int(data["blocks/J"])
  Lambda, V, V_inv = hippo.block_legs(size, blocks, conj_sym=True)
  np.testing.assert_allclose(Lambda, data["blocks/Lambda"], atol=1e-10)
  # The projector on the kept eigenvectors is free of their phases.
  np.testing.assert_allclose(
    V @ V_inv, data["blocks/V"] @ data["blocks/Vinv"], atol=1e-10
  )


def test_kept_half_has_negative_imaginary_parts():
  Lambda, V, V_inv = hippo.block_legs(32, 2, conj_sym=True)
  assert Lambda.shape == (16,)
  assert V.shape == (32, 16)
  assert np.all(Lambda.imag < 0)
  np.testing.assert_allclose(V_inv @ V, np.eye(16), atol=1e-12)


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ((10, 3, True), "size: got .*, expected a positive multiple of blocks"),
    ((9, 3, True), "even size"),
    ((0, 1, False), "size: got .*, expected a positive multiple"),
  ],
)
def test_bad_sizes_are_named(args, message):
  with pytest.raises(ValueError, match=message):
    hippo.block_legs(*args)


def test_legs_needs_a_state():
  with pytest.raises(
    ValueError, match="N: got 0, expected an integer of at least 1"
  ):
    hippo.legs(0)


# What the golden set has.
_DPLR = [(name, N) for name in hippo.HIPPO for N in (4, 8, 16, 32)]


@pytest.mark.parametrize(("name", "N"), [*_DPLR, ("legs", 64)])
def test_golden_dplr(golden, name, N):
  """state-spaces/s4: matrices, and what is free of eigenvectors' phases."""
  data = golden("ssm/hippo_dplr")
  A, B = hippo.HIPPO[name](N)
  Lambda, P, B_half, V = hippo.half_dplr(name, N)
  # float64 on both sides; the eigenvalues reach 1e3.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9)
  close(A, data[f"{name}/N{N}/A"])
  close(B, data[f"{name}/N{N}/B"])
  if name != "legt":
    close(Lambda, data[f"{name}/N{N}/half_W"])
    close(np.abs(P), data[f"{name}/N{N}/half_absP"])
    close(np.abs(B_half), data[f"{name}/N{N}/half_absB"])
    close(B_half * P[0].conj(), data[f"{name}/N{N}/half_B_conjP"])
  # The half and its conjugate are the whole.
  whole = V @ np.diag(Lambda) @ V.conj().T
  P = P @ V.T
  low = 2 * P.real
  close(2 * whole.real - low.T @ low, A)
  close(2 * (V @ B_half).real, B)
  close(low, data[f"{name}/N{N}/P_real"])


@pytest.mark.parametrize("N", [16, 64])
@pytest.mark.parametrize("name", hippo.DIAGONAL)
def test_golden_diagonal(golden, name, N):
  expected = golden("ssm/hippo_dplr")[f"s4d/{name}/N{N}/A"]
  # float64 on both sides; the golden set has N / 2 of the real numbers.
  np.testing.assert_allclose(
    hippo.diagonal(name, N)[: N // 2], expected, rtol=1e-9
  )


@pytest.mark.parametrize(
  ("function", "args", "message"),
  [
    (hippo.half_dplr, ("lmu", 4), "name: got 'lmu', expected one of"),
    (hippo.half_dplr, ("legs", 5), "N: got 5, expected a positive and even"),
    (hippo.diagonal, ("cubic", 4), "name: got 'cubic', expected one of"),
    (hippo.diagonal, ("lin", 0), "N: got 0, expected a positive and even"),
    (hippo.fourier, (3,), "N: got 3, expected a positive and even"),
    (hippo.legt, (0,), "N: got 0, expected an integer of at least 1"),
  ],
)
def test_bad_choices_are_named(function, args, message):
  with pytest.raises(ValueError, match=message):
    function(*args)
