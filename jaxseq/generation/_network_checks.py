"""Checks of networks and their variables before tokens are generated."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxseq import nn
from jaxseq import validate
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork


def vocab_size(network: TokenNetwork, variables: PyTree) -> int:
  """Returns the number of tokens that a network chooses from."""
  kind = type(network).__name__
  if not callable(getattr(network, "apply", None)):
    expected = "a network with `apply`"
    if hasattr(network, "network"):
      expected += ": the `network` of what `jaxseq.load` returns"
    raise validate.error("network", kind, expected)
  if not isinstance(network, nn.SequenceNetwork):
    size = getattr(network, "num_outputs", None)
    if size is None:
      token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
      size = jax.eval_shape(network.apply, variables, token)[0].shape[-1]
    return size
  if network.vocab_size is None:
    expected = "one of tokens, with a vocab_size"
    raise validate.error("network", f"{kind} of vectors", expected)
  if network.config.pooling != "none":
    got = f"{kind} with pooling {network.config.pooling!r}"
    raise validate.error("network", got, "pooling 'none'")
  if network.num_outputs > network.vocab_size:
    expected = f"at most the vocab_size, {network.vocab_size}, to be read again"
    raise validate.error("num_outputs", network.num_outputs, expected)
  if not isinstance(variables, Mapping) or "params" not in variables:
    got = type(variables).__name__
    if isinstance(variables, Mapping):
      got += f" of {', '.join(map(str, variables)) or 'nothing'}"
    expected = "what `network.init` returns, with 'params'"
    raise validate.error("variables", got, expected)
  return network.num_outputs
