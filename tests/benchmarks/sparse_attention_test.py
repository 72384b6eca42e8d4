"""Parts of the benchmark of sparse attention, on random numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import small_attention
from benchmarks import sparse_attention
from jaxseq.mixers.keys_and_values import attention
from jaxseq.recurrence.attention import hip


@pytest.mark.slow
def test_choices_of_blocks_are_of_one_size():
  """And none holds more of the weights than the best one."""
  rng = np.random.default_rng(0)
  scores = jnp.asarray(rng.normal(size=(1, 2, 40, 40)), jnp.float32)
  causal = np.tri(40, dtype=bool)
  dense = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf))
  search, held = hip.Hip(6, 2, 5), {}
  for kind in ("hip", "best", "random"):
    seen = sparse_attention.seen_by(kind, search, scores, jax.random.key(0))
    assert not (seen & ~causal).any()
    held[kind] = float(jnp.where(seen, dense, 0).sum(-1).mean())
    # Where there are more candidates than are kept: those and what is near.
    np.testing.assert_array_equal(
      np.ptp(seen[..., 20:, :].sum(-1), axis=(0, 1)), 0
    )
  assert held["random"] < held["hip"] <= held["best"]


def test_masked_attention_is_the_mixer():
  config = small_attention.CONFIG
  params = attention.init(jax.random.key(0), config)
  x = jax.random.normal(jax.random.key(1), (2, 9, config.d_model))
  got = sparse_attention.masked(config, params, x, sparse_attention.causal)
  apply = jax.jit(functools.partial(attention.apply, config))
  # float32 rounding.
  np.testing.assert_allclose(got, apply(params, x)[0], atol=1e-5)
