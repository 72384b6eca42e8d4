"""Arguments of the recurrences that are timed, as NumPy draws them.

Peers in other libraries get the same numbers, so nothing here needs jax.
"""

from typing import NamedTuple

import numpy as np

# Longer arrays repeat themselves after so many numbers, each array after
# others, which saves seconds of drawing and is as hard to compress or to cache.
_PERIOD = 1_000_003


class Array(NamedTuple):
  """One argument.

  Attributes:
    shape: its shape.
    kind: how its numbers are drawn, see `drawn`.
    dtype: name of its dtype, "bfloat16" among them.
    learned: whether gradients are taken with respect to it.
  """

  shape: tuple[int, ...]
  kind: str = "normal"
  dtype: str = "float32"
  learned: bool = True


def drawn(arrays: dict[str, Array], seed: int = 0) -> dict[str, np.ndarray]:
  """Draws arguments: float32 and complex64 numbers, and flags.

  Args:
    arrays: what to draw, by names. Kinds: "normal"; "weights", normal numbers
      of variance 1 / last axis, and "complex_weights"; "decays" from 0.9 to
      0.999; "eigenvalues", complex, of such sizes; "steps", log-uniform from
      1e-3 to 1e-1; "log_decays", the products of such steps with -16 to -1;
      "poles", -1 to -n along the last axis; "flags", true in one of 500,
      but in eight of few; "zeros".
    seed: of the generator.

  Returns:
    The arrays, not yet of their dtype where that is a narrower one.
  """
  rng = np.random.default_rng(seed)
  found = {}
  for i, (name, array) in enumerate(arrays.items()):
    size = int(np.prod(array.shape))
    numbers = _KINDS[array.kind](rng, min(size, _PERIOD + 2 * i), array.shape)
    found[name] = np.resize(numbers, array.shape)
  return found


def _normal(rng, size, shape):
  return rng.standard_normal(size, np.float32)


def _weights(rng, size, shape):
  return _normal(rng, size, shape) / np.float32(np.sqrt(shape[-1]))


def _decays(rng, size, shape):
  return np.float32(0.9) + np.float32(0.099) * rng.random(size, np.float32)


def _eigenvalues(rng, size, shape):
  angle = np.float32(np.pi) * rng.random(size, np.float32)
  return (_decays(rng, size, shape) * np.exp(1j * angle)).astype(np.complex64)


def _complex_weights(rng, size, shape):
  parts = (_weights(rng, size, shape) for _ in range(2))
  return np.complex64(1) * next(parts) + np.complex64(1j) * next(parts)


def _steps(rng, size, shape):
  low, high = np.log(np.float32([1e-3, 1e-1]))
  return np.exp(low + (high - low) * rng.random(size, np.float32))


def _log_decays(rng, size, shape):
  return -_steps(rng, size, shape) * (1 + 15 * rng.random(size, np.float32))


def _poles(rng, size, shape):
  return -1 - np.arange(size, dtype=np.float32) % shape[-1]


def _flags(rng, size, shape):
  return rng.random(size, np.float32) < max(0.002, 8 / size)


def _zeros(rng, size, shape):
  return np.zeros(size, np.float32)


_KINDS = {
  "normal": _normal,
  "weights": _weights,
  "complex_weights": _complex_weights,
  "decays": _decays,
  "eigenvalues": _eigenvalues,
  "steps": _steps,
  "log_decays": _log_decays,
  "poles": _poles,
  "flags": _flags,
  "zeros": _zeros,
}
