"""HiPPO-LegS and its diagonalisation against the original S5 code."""

import functools

import numpy as np
import pytest

from jaxseq.mixers import hippo


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
    ((10, 3, True), "size must be a positive multiple of blocks"),
    ((9, 3, True), "even size"),
    ((0, 1, False), "size must be a positive multiple"),
  ],
)
def test_bad_sizes_are_named(args, message):
  with pytest.raises(ValueError, match=message):
    hippo.block_legs(*args)


def test_legs_needs_a_state():
  with pytest.raises(ValueError, match="N must be positive; got 0"):
    hippo.legs(0)
