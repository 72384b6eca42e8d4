"""HiPPO-LegS and its diagonalisation, in numpy float64 on the host.

The eigenvector matrix of HiPPO itself is too ill-conditioned to use (condition
number 8e10 at N = 16), so the normal part of its normal-plus-low-rank form is
diagonalised, by a Hermitian solver. On the host, because initialisation needs
float64 and accelerators have no general eigensolver.
"""

from typing import NamedTuple

import numpy as np


class DPLR(NamedTuple):
  """A matrix as V (diag(Lambda) - P P^H) V^H, with its input vector.

  Attributes:
    Lambda: (N,) complex128 eigenvalues of the normal part, by imaginary part.
    P: (N,) complex128 low-rank vector in the eigenbasis.
    B: (N,) complex128 input vector in the eigenbasis.
    V: (N, N) complex128 eigenvectors, in columns; unitary. Their phases are
      the solver's choice.
  """

  Lambda: np.ndarray
  P: np.ndarray
  B: np.ndarray
  V: np.ndarray


def legs(N: int) -> tuple[np.ndarray, np.ndarray]:
  """HiPPO-LegS (Gu et al., arXiv:2008.07669, theorem 2).

  Args:
    N: state size.

  Returns:
    A (N, N) and B (N,), float64.

  Raises:
    ValueError: if N is not positive.
  """
  if N < 1:
    raise ValueError(f"N must be positive; got {N}.")
  B = np.sqrt(2.0 * np.arange(N) + 1.0)
  A = -np.tril(np.outer(B, B), -1) - np.diag(np.arange(N) + 1.0)
  return A, B


def legs_dplr(N: int) -> DPLR:
  """Diagonal plus low rank form of HiPPO-LegS (S4, arXiv:2111.00396, app. C).

  Args:
    N: state size.

  Returns:
    The form; the real part of every eigenvalue is -1/2.

  Raises:
    ValueError: if N is not positive.
  """
  A, B = legs(N)
  P = np.sqrt(np.arange(N) + 0.5)
  normal = A + np.outer(P, P)
  # -1/2 I plus a skew-symmetric matrix, which is i times a Hermitian one.
  real = np.mean(np.diagonal(normal))
  imag, V = np.linalg.eigh(-1j * normal)
  V_inv = V.conj().T
  return DPLR(real + 1j * imag, V_inv @ P, V_inv @ B, V)


def block_legs(
  size: int, blocks: int, conj_sym: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Block-diagonal HiPPO-LegS as S5 uses it (arXiv:2208.04933, app. B.1).

  Args:
    size: number of states, conjugates counted.
    blocks: number of equal blocks on the diagonal.
    conj_sym: keep one of each conjugate pair, that with negative imaginary
      part.

  Returns:
    Lambda (P,), V (size, P) and V^H (P, size), complex128, where P is size / 2
    under `conj_sym` and size otherwise.

  Raises:
    ValueError: if `size` is no positive multiple of `blocks`, or the blocks
      are odd under `conj_sym`.
  """
  if blocks < 1 or size < 1 or size % blocks:
    raise ValueError(
      f"size must be a positive multiple of blocks; got size = {size} and "
      f"blocks = {blocks}."
    )
  width = size // blocks
  if conj_sym and width % 2:
    raise ValueError(
      "with conjugate symmetry each block must have an even size; got "
      f"{size} / {blocks} = {width}."
    )
  form = legs_dplr(width)
  kept = width // 2 if conj_sym else width
  Lambda = np.tile(form.Lambda[:kept], blocks)
  V = np.kron(np.eye(blocks), form.V[:, :kept])
  return Lambda, V, V.conj().T
