"""HiPPO matrices and their diagonalization, in numpy float64 on the host.

The eigenvector matrix of HiPPO itself is too ill-conditioned to use (condition
number 8e10 at N = 16), so the normal part of its normal-plus-low-rank form is
diagonalized, by a Hermitian solver. On the host, because initialization needs
float64 and accelerators have no general eigensolver.
"""

import math
import types
from typing import NamedTuple

import numpy as np

from jaxseq import validate


class DPLR(NamedTuple):
  """A matrix as V (diag(Lambda) - P P^H) V^H, with its input vector.

  Attributes:
    Lambda: (N,) complex128 eigenvalues of the normal part, by imaginary part.
    P: (N,) complex128 low-rank vector in the eigenbasis; (r, N) if the rank r
      may differ from 1, as A = V (diag(Lambda) - sum_r P_r P_r^H) V^H.
    B: (N,) complex128 input vector in the eigenbasis.
    V: (N, N) complex128 eigenvectors, in columns; unitary. Their phases are
      the solver's choice.
  """

  Lambda: np.ndarray
  P: np.ndarray
  B: np.ndarray
  V: np.ndarray


def legs(N: int) -> tuple[np.ndarray, np.ndarray]:
  """HiPPO-LegS (Gu et al., arXiv:2008.07669, theorem 2) of N states.

  Returns A (N, N) and B (N,), float64; a ValueError if N is not positive.
  """
  validate.positive("N", N)
  B = np.sqrt(2.0 * np.arange(N) + 1.0)
  A = -np.tril(np.outer(B, B), -1) - np.diag(np.arange(N) + 1.0)
  return A, B


def legt(N: int) -> tuple[np.ndarray, np.ndarray]:
  """HiPPO-LegT (arXiv:2008.07669, theorem 1) of N states, as S4 scales it.

  Returns A (N, N) and B (N,), float64; a ValueError if N is not positive.
  """
  validate.positive("N", N)
  n = np.arange(N)
  root = np.sqrt(2.0 * n + 1.0)
  above = n[:, None] < n
  sign = np.where(above, (-1.0) ** (n[:, None] - n), 1.0)
  return -0.5 * np.outer(root, root) * sign, 0.5 * root


def fourier(N: int) -> tuple[np.ndarray, np.ndarray]:
  """HiPPO-FouT (Gu et al., "How to train your HiPPO", arXiv:2206.12037).

  Returns A (N, N) and B (N,), float64; a ValueError if N is not positive and
  even.
  """
  _check_even(N)
  B = np.zeros(N)
  B[::2] = math.sqrt(2)
  B[0] = 1
  even = np.arange(0, N, 2)
  S = np.zeros((N, N))
  S[even, even + 1] = -np.pi * np.arange(N // 2)
  S[even + 1, even] = np.pi * np.arange(N // 2)
  return S - np.outer(B, B), B


def _check_even(N):
  if N < 1 or N % 2:
    raise validate.error("N", N, "a positive and even number")


def _low_rank(name, N):
  """Real P (r, N) such that A + P^T P is normal."""
  n = np.arange(N)
  if name == "legs":
    return np.sqrt(n + 0.5)[None]
  if name == "fourier":
    return fourier(N)[1][None]
  P = np.sqrt(n + 0.5)
  return np.stack([np.where(n % 2, P, 0), np.where(n % 2, 0, P)])


HIPPO = types.MappingProxyType({"legs": legs, "legt": legt, "fourier": fourier})


def half_dplr(name: str, N: int) -> DPLR:
  """Diagonal plus low rank form, one of each conjugate pair (arXiv:2111.00396).

  Args:
    name: "legs", "legt" or "fourier".
    N: state size, even.

  Returns:
    The form with Lambda (N/2,), P (r, N/2), B (N/2,) and V (N, N/2), where r is
    2 for "legt" and 1 for the others. The stored half has the eigenvalues with
    negative imaginary part.

  Raises:
    ValueError: if there is no such matrix, or N is not positive and even.
  """
  validate.choice("name", name, HIPPO)
  _check_even(N)
  A, B = HIPPO[name](N)
  P = _low_rank(name, N)
  Lambda, V = _normal_part(A + P.T @ P)
  Lambda, V = Lambda[: N // 2], V[:, : N // 2]
  if name == "fourier":
    # The pair of frequency 0 has one eigenvalue, for which the solver may
    # return any two vectors: these are conjugates of each other.
    Lambda[-1] = Lambda[-1].real
    V[:, -1] = 0
    V[:2, -1] = math.sqrt(0.5), 1j * math.sqrt(0.5)
  V_inv = V.conj().T
  return DPLR(Lambda, P @ V_inv.T, V_inv @ B, V)


def _normal_part(normal):
  """Eigenvalues, by imaginary part, and eigenvectors."""
  # A real number times I plus a skew-symmetric matrix, which is i times a
  # Hermitian one.
  imag, V = np.linalg.eigh(-1j * normal)
  return np.mean(np.diagonal(normal)) + 1j * imag, V


def diagonal(name: str, N: int) -> np.ndarray:
  """Initial eigenvalues of S4D (Gu et al., arXiv:2206.11893, section 4).

  Args:
    name: "legs" (the normal part of HiPPO-LegS), "lin" (-1/2 + i pi n), "inv"
      (-1/2 + i N/pi (N/(2n+1) - 1)), "inv2" (N/(n+1) instead of N/(2n+1)),
      "quad" (-1/2 + i (1+2n)^2/pi) or "real" (-(n+1)).
    N: state size, including conjugates, even.

  Returns:
    (N/2,) complex128, with imaginary parts <= 0; for "real", whose states are
    not pairs, (N,) without imaginary parts.

  Raises:
    ValueError: if there is no such choice, or N is not positive and even.
  """
  validate.choice("name", name, DIAGONAL)
  _check_even(N)
  if name == "legs":
    return half_dplr("legs", N).Lambda
  if name == "real":
    return -(np.arange(N) + 1.0) + 0j
  n = np.arange(N // 2)
  imag = {
    "lin": np.pi * n,
    "inv": N / np.pi * (N / (2 * n + 1) - 1),
    "inv2": N / np.pi * (N / (n + 1) - 1),
    "quad": (1 + 2 * n) ** 2 / np.pi,
  }[name]
  return -0.5 - 1j * imag


DIAGONAL = ("lin", "inv", "inv2", "quad", "real", "legs")


def legs_dplr(N: int) -> DPLR:
  """Diagonal plus low rank form of HiPPO-LegS (S4, arXiv:2111.00396, app. C).

  Of N states, a positive number; the real part of every eigenvalue is -1/2.
  """
  A, B = legs(N)
  P = np.sqrt(np.arange(N) + 0.5)
  normal = A + np.outer(P, P)
  Lambda, V = _normal_part(normal)
  V_inv = V.conj().T
  return DPLR(Lambda, V_inv @ P, V_inv @ B, V)


def block_legs(
  size: int, blocks: int, conj_sym: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Block-diagonal HiPPO-LegS as S5 uses it (arXiv:2208.04933, app. B.1).

  Args:
    size: number of states, including conjugates.
    blocks: number of equal blocks on the diagonal.
    conj_sym: whether to keep one of each conjugate pair, that with negative
      imaginary part.

  Returns:
    Lambda (P,), V (size, P) and V^H (P, size), complex128, where P is size / 2
    under `conj_sym` and size otherwise.

  Raises:
    ValueError: if `size` is not a positive multiple of `blocks`, or the blocks
      are odd with `conj_sym`.
  """
  if blocks < 1 or size < 1 or size % blocks:
    raise validate.error(
      "size",
      f"size = {size} and blocks = {blocks}",
      "a positive multiple of blocks",
    )
  width = size // blocks
  if conj_sym and width % 2:
    raise validate.error(
      "size",
      f"{size} / {blocks} = {width}",
      "an even size of each block, with conjugate symmetry",
    )
  form = legs_dplr(width)
  length = width // 2 if conj_sym else width
  Lambda = np.tile(form.Lambda[:length], blocks)
  V = np.kron(np.eye(blocks), form.V[:, :length])
  return Lambda, V, V.conj().T
