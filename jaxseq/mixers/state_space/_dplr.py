"""Diagonal plus low rank state space models (arXiv:2111.00396).

There is one for every channel:

    x'(t) = A x(t) + B u(t),   A = diag(Lambda) - sum_r P_r P_r^H

States, Lambda, P and B come in conjugate pairs, and one of each is stored: M of
N = 2 M. A linear map of a state and its conjugate is a real matrix on real
parts before imaginary parts, (2 M,): a "joined" array here.

With R = (2/dt - A)^-1 the bilinear transform of S4 is

    A_bar = I + 2 R A = (4/dt) R - I,   B_bar = 2 R B

and R is diagonal plus low rank again, by Woodbury's identity.
"""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq.recurrence.platform import choice


class System(NamedTuple):
  """A continuous system and its step sizes.

  Attributes:
    Lambda: (H, M) complex, real parts negative.
    P: (r, H, M) complex, r of 1 or 2.
    B: (H, M) complex.
    dt: (H,) real, positive.
  """

  Lambda: jax.Array
  P: jax.Array
  B: jax.Array
  dt: jax.Array


def join(z: jax.Array) -> jax.Array:
  """States (..., M) complex as (..., 2 M) real."""
  return jnp.concatenate([jnp.real(z), jnp.imag(z)], axis=-1)


def split(x: jax.Array) -> jax.Array:
  """The inverse of `join`."""
  return lax.complex(*jnp.split(x, 2, axis=-1))


def read_out(C: jax.Array) -> jax.Array:
  """The c with c . join(z) = 2 Re(C z): (..., M) complex, (..., 2 M) real."""
  return 2 * join(jnp.conj(C))


def _inverse(G):
  """Inverse of (..., r, r) for r of 1 or 2; complex matrices have no solver."""
  if G.shape[-1] == 1:
    return 1 / G
  a, b, c, d = G[..., 0, 0], G[..., 0, 1], G[..., 1, 0], G[..., 1, 1]
  adjugate = jnp.stack([jnp.stack([d, -b], -1), jnp.stack([-c, a], -1)], -2)
  return adjugate / (a * d - b * c)[..., None, None]


def _inner(P, z):
  """P^H z over conjugate pairs: (..., H, M) -> (..., H, r) real."""
  re = jnp.einsum("rhm,...hm->...hr", P.real, z.real, precision="highest")
  im = jnp.einsum("rhm,...hm->...hr", P.imag, z.imag, precision="highest")
  return 2 * (re + im)


def _outer(P, weights):
  """sum_r P_r weights_r: (..., H, r) real -> (..., H, M) complex."""
  return lax.complex(
    jnp.einsum("rhm,...hr->...hm", P.real, weights, precision="highest"),
    jnp.einsum("rhm,...hr->...hm", P.imag, weights, precision="highest"),
  )


def _resolvent(system):
  """Products R w = D w - D P G^-1 P^H D w: D (H, M) and G^-1 (H, r, r)."""
  Lambda, P, _, dt = system
  D = 1 / (2 / dt[:, None] - Lambda)
  PDP = jnp.transpose(_inner(P, D * P), (1, 2, 0))
  return D, _inverse(jnp.eye(len(P), dtype=dt.dtype) + PDP)


def advance(system: System, z: jax.Array, u: jax.Array) -> jax.Array:
  """States A_bar z + B_bar u of the bilinear transform, in O(M) per channel."""
  # Maps states (*batch, H, M) and inputs u (*batch, H).
  Lambda, P, B, _ = system
  D, G_inv = _resolvent(system)
  # z + 2 R (A z + B u): the change is computed to full precision even if A_bar
  # is close to 1.
  v = D * (Lambda * z - _outer(P, _inner(P, z)) + B * u[..., None])
  weights = jnp.einsum("hrs,...hs->...hr", G_inv, _inner(P, v))
  return z + 2 * (v - D * _outer(P, weights))


def transition(system: System) -> tuple[jax.Array, jax.Array]:
  """Matrices A_bar (H, 2 M, 2 M) and B_bar (H, 2 M), real, of joined states."""
  _, P, B, dt = system
  D, G_inv = _resolvent(system)
  # P^H D is a map to real numbers.
  rows = read_out(D * jnp.conj(P))
  low_rank = jnp.einsum(
    "rhi,hrs,shj->hij", join(D * P), G_inv, rows, precision="highest"
  )
  R = _real_diagonal(D) - low_rank
  A_bar = (4 / dt)[:, None, None] * R - jnp.eye(R.shape[-1], dtype=R.dtype)
  B_bar = 2 * jnp.einsum("hij,hj->hi", R, join(B), precision="highest")
  return A_bar, B_bar


def _real_diagonal(d):
  """diag(d) on joined states, (H, M) complex -> (H, 2 M, 2 M) real."""
  eye = jnp.eye(d.shape[-1], dtype=d.real.dtype)
  re, im = d.real[..., None] * eye, d.imag[..., None] * eye
  return jnp.concatenate(
    [jnp.concatenate([re, -im], -1), jnp.concatenate([im, re], -1)], -2
  )


def truncate(A_bar: jax.Array, C: jax.Array, length: int) -> jax.Array:
  """Matrix C (I - A_bar^length), the paper's C~, whose kernel is cut off."""
  # For A_bar (H, 2 M, 2 M) of `transition` and C (directions, H, M) complex.
  # The infinite kernel of the result is the truncated one of C.
  c = read_out(C)
  after = jnp.swapaxes(c, 0, 1)
  for bit in range(length.bit_length()):
    if bit:
      A_bar = jnp.matmul(A_bar, A_bar, precision="highest")
    if length >> bit & 1:
      after = jnp.matmul(after, A_bar, precision="highest")
  c = c - jnp.swapaxes(after, 0, 1)
  return jnp.conj(split(c)) / 2  # The inverse of `read_out`.


def kernel(system: System, C: jax.Array, length: int) -> jax.Array:
  """Kernels (directions, H, length), real, from their Fourier transforms."""
  # At omega = exp(-2 i theta), theta = pi j / length, the generating function
  # of 2 Re(C A_bar^l B_bar) is (arXiv:2111.00396, algorithm 1, divided through
  # by 1 + omega so that nothing is infinite at omega = -1)
  #
  #   exp(i theta) [k_CB - c k_CP (1 + c k_PP)^-1 k_PB]
  #   k_xy = sum over n and conjugates of x_n y_n / (i sigma - c Lambda_n)
  #
  # with c = cos(theta) and sigma = 2 sin(theta) / dt. The two terms of a
  # conjugate pair have a common denominator that is the same for all x and y,
  # and real numerators but for one factor i: a real matrix product with a
  # Cauchy matrix (M, frequencies). That is computed block by block, again in
  # the backward pass. C (directions, H, M) is that of `truncate` for this
  # length.
  Lambda, P, B, dt = system
  directions, (H, M), rank = len(C), Lambda.shape, len(P)
  rows = jnp.concatenate(
    [
      C * B,
      (C[:, None] * P).reshape(-1, H, M),
      jnp.conj(P) * B,
      (jnp.conj(P)[:, None] * P).reshape(-1, H, M),
    ]
  )
  even, odd = -2 * jnp.real(rows * jnp.conj(Lambda)), 2 * jnp.real(rows)
  weights = jnp.swapaxes(jnp.concatenate([even, odd]), 0, 1)
  ends = directions, directions * (1 + rank), directions * (1 + rank) + rank

  count = length // 2 + 1

  def run(weights, Lambda, dt, *, method, chunk_size):
    del method  # There is one.
    size = chunk_size

    @jax.checkpoint
    def block(angles):
      c, s = angles
      sigma = 2 * s / dt[:, None]
      re, im = _cauchy(Lambda, c, sigma)
      re = jnp.matmul(weights, re, precision="highest")
      im = jnp.matmul(weights, im, precision="highest")
      (re, x), (im, y) = (jnp.split(part, 2, axis=1) for part in (re, im))
      sigma = sigma[:, None]
      k = lax.complex(c * re - sigma * y, c * im + sigma * x)
      k = jnp.moveaxis(k, 1, 0)
      CB, CP, PB, PP = jnp.split(k, ends)
      CP = CP.reshape(directions, rank, *k.shape[1:])
      PP = PP.reshape(rank, rank, *k.shape[1:])
      eye = jnp.eye(rank, dtype=c.dtype)[..., None, None]
      G_inv = jnp.moveaxis(
        _inverse(jnp.moveaxis(eye + c * PP, (0, 1), (-2, -1))), (-2, -1), (0, 1)
      )
      return lax.complex(c, s) * (
        CB - c * jnp.einsum("drhf,rshf,shf->dhf", CP, G_inv, PB)
      )

    blocks = -(-count // size)
    # On the host, in float64; after the end the highest frequency is repeated.
    theta = np.pi / length * np.minimum(np.arange(blocks * size), length / 2)
    angles = np.stack([np.cos(theta), np.sin(theta)], 1)
    angles = angles.reshape(blocks, size, 2).transpose(0, 2, 1)
    spectrum = lax.map(block, jnp.asarray(angles, dt.dtype))
    spectrum = jnp.moveaxis(spectrum, 0, -2)
    return spectrum.reshape(directions, H, -1)[..., :count]

  spectrum = choice.by_platform(
    "dplr", dt.dtype, (H, M, count), run, weights, Lambda, dt
  )
  return jnp.fft.irfft(spectrum, length)


def _cauchy(Lambda, c, sigma):
  """Products 1 / ((i sigma - c Lambda) (i sigma - c conj(Lambda)))."""
  # Real and imaginary part (H, M, frequencies), from Lambda (H, M), c
  # (frequencies,) and sigma (H, frequencies).
  re, im = c * Lambda.real[..., None], c * Lambda.imag[..., None]
  sigma = sigma[:, None]
  # A product and not a difference of squares, which would lose digits close to
  # a resonance.
  x = re * re + (im - sigma) * (im + sigma)
  y = -2 * sigma * re
  scale = 1 / (x * x + y * y)
  return x * scale, -y * scale
