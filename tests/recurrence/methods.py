"""What tests of several scans run over: methods, resets, bad options."""

import jax.numpy as jnp
import numpy as np
import pytest

METHODS = ("sequential", "associative", "chunked")


def quick(*names):
  """Returns all methods, those that are not named as slow tests."""
  return [
    pytest.param(name, marks=() if name in names else pytest.mark.slow)
    for name in METHODS
  ]


def make_reset(rng, kind, shape, share=0.1):
  """Flags "first", "last", "every" or "random", or None for "none"."""
  if kind == "none":
    return None
  if kind == "random":
    return rng.uniform(size=shape) < share
  index = np.arange(shape[-1])
  last = shape[-1] - 1
  flags = {"first": index == 0, "last": index == last, "every": index >= 0}
  return np.broadcast_to(flags[kind], shape)


# Of scans over two sequences of five elements, and what they say to it.
BAD_OPTIONS = [
  (
    {"reset": jnp.ones((5,), bool)},
    r"reset: got shape .*, expected \(2, 5\)",
  ),
  ({"chunk_size": 0}, "chunk_size: got 0, expected an integer of at least 1"),
  ({"method": "fft"}, "method: got 'fft', expected one of .*'chunked'"),
]
