"""Networks of tokens for the tests of generation."""

import functools

import jax
import jax.numpy as jnp

from jaxseq import nn

VOCAB = 7


@functools.cache
def make(
  *mixers, vocab_size=VOCAB, num_outputs=None, d_model=8, dtype="float32"
):
  """A network with these mixers in turn, and its variables."""
  stack = nn.StackConfig(
    mixers[0],
    d_model=d_model,
    num_layers=len(mixers),
    hybrid={name: {} for name in mixers[1:]},
    dtype=dtype,
  )
  config = nn.NetworkConfig(stack)
  network = nn.SequenceNetwork(
    config, num_outputs=num_outputs or vocab_size, vocab_size=vocab_size
  )
  tokens = jnp.zeros((1, 1), jnp.int32)
  return network, jax.jit(network.init)(jax.random.key(0), tokens)
