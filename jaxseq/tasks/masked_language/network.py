"""The network of masked language models, with bidirectional layers."""

import dataclasses
import operator

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import nn
from jaxseq import validate
from jaxseq.mixers.keys_and_values import attention
from jaxseq.nn import dense
from jaxseq.nn import layer
from jaxseq.nn import masks
from jaxseq.tasks import masking
from jaxseq.tasks.masked_language import structformer
from jaxseq.types import PyTree


class MaskedNetwork(linen.Module):
  """Embedding, bidirectional layers, and a head tied to the embedding.

  With learned positions, a norm after the embedding and bidirectional attention
  it is the encoder of ESM-1b and RNA-FM (Chen et al., arXiv:2204.00300); with
  bidirectional recurrent mixers the length is unlimited.

  Attributes:
    config: options of the stack, `embedding_norm` and `embedding_scale`.
    vocab_size: number of tokens, including the mask and other special ones.
    mask_token: number of the mask.
    positions: number of learned positions, the maximum length; 0 for none.
    token_dropout: whether masks are left out, see `masking.drop_masks`.
    parser: config of a StructFormer, which replaces the whole network, or None.
  """

  config: nn.NetworkConfig
  vocab_size: int
  mask_token: int
  positions: int = 0
  token_dropout: bool = False
  parser: structformer.Config | None = None

  @linen.compact
  def __call__(
    self,
    tokens: jax.Array,
    lengths: jax.Array | None = None,
    train: bool = False,
    features: bool = False,
  ) -> jax.Array:
    """Scores all tokens at every place.

    Args:
      tokens: (*batch, time) integers.
      lengths: (*batch,) numbers of valid tokens; None if all are valid. Padding
        does not affect their outputs.
      train: whether dropout is on.
      features: whether to return the head's inputs.

    Returns:
      Logits (*batch, time, vocab_size), or features (*batch, time, d_model).

    Raises:
      ValueError: if a sequence is longer than there are positions.
    """
    if self.parser is not None:
      whole = self._structformer(name="structformer")
      return whole(tokens, lengths, train, features)
    config, stack = self.config, self.config.stack
    time = tokens.shape[-1]
    dtype = jnp.dtype(stack.dtype)
    init = linen.initializers.normal(0.02)
    embed = dense.Embed(
      self.vocab_size,
      stack.d_model,
      dtype=jnp.promote_types(dtype, jnp.float32),
      embedding_init=init,
      name="embed",
    )
    x = embed(tokens)
    if config.embedding_scale != 1:
      x = config.embedding_scale * x
    if self.token_dropout:
      x = masking.drop_masks(x, tokens, self.mask_token, lengths)
    if self.positions:
      if time > self.positions:
        expected = f"at most {self.positions}, the learned positions"
        raise validate.error("tokens", f"{time} in a row", expected)
      table = self.param("positions", init, (self.positions, stack.d_model))
      x = x + table[:time].astype(x.dtype)
    x = x.astype(dtype)
    if config.embedding_norm:
      x = layer.make_norm(stack, stack.norm, dtype, train, "embedding_norm")(x)
    if lengths is not None:
      x = jnp.where(masks.inside(time, lengths)[..., None], x, 0)
    layers = nn.SequenceModel(stack, name="stack")
    x, _ = layers(x, train=train, lengths=lengths)
    if features:
      return x
    return nn.TiedHead(stack.norm_epsilon, x.dtype, name="head")(x, embed)

  @linen.compact
  def parse(
    self, tokens: jax.Array, lengths: jax.Array | None = None
  ) -> structformer.Parse:
    """Returns the trees found by the parser.

    Args:
      tokens: see `__call__`.
      lengths: see `__call__`.

    Raises:
      ValueError: if there is no parser.
    """
    return self._structformer(name="structformer").parse(tokens, lengths)

  def _structformer(self, name):
    """The network with a parser."""
    if self.parser is None:
      expected = "a structformer.Config, which alone finds trees"
      raise validate.error("parser", None, expected)
    return structformer.StructFormer(self.parser, self.vocab_size, name=name)


def attention_maps(
  network: MaskedNetwork,
  variables: PyTree,
  tokens: jax.Array,
  lengths: jax.Array | None = None,
) -> jax.Array:
  """Returns the attention weights of all layers and heads.

  Args:
    network: network with bidirectional attention in all layers.
    variables: variables of the network.
    tokens: (*batch, time) integers.
    lengths: see `MaskedNetwork`.

  Returns:
    (*batch, layers * heads, time, time), see `attention.weights`.

  Raises:
    ValueError: if there are other layers, or a parser.
  """
  if network.parser is not None:
    raise validate.error("parser", network.parser, "None, and attention")
  stack = network.config.stack
  for each in stack.every_layer:
    one = each.mixer_config
    attends = isinstance(one, attention.Config) and one.bidirectional
    if each.bidirectional or not attends:
      raise validate.error("mixer", each.mixer, "bidirectional attention")
  network, variables = _layer_by_layer(network, variables)
  maps = []

  def note(call, args, kwargs, context):
    module = context.module
    if context.method_name == "__call__" and module.name == "mixer":
      x, own = args[0], module.variables["params"]
      mask = None if lengths is None else masks.inside(x.shape[-2], lengths)
      maps.append(attention.weights(module.config, own, x, mask))
    return call(*args, **kwargs)

  with linen.intercept_methods(note):
    network.apply(variables, tokens, lengths, features=True)
  return jnp.concatenate(maps, axis=-3)


def _layer_by_layer(network, variables):
  """The same network and variables without scanned layers and remat."""
  config = network.config
  stack = dataclasses.replace(config.stack, scan_layers=False, remat=False)
  params = {**variables["params"]}
  if config.stack.scan_layers:
    own = {**params["stack"]}
    layers = own.pop("layers")
    for i in range(config.stack.num_layers):
      own[f"layers_{i}"] = jax.tree.map(operator.itemgetter(i), layers)
    params["stack"] = own
  config = dataclasses.replace(config, stack=stack)
  return network.clone(config=config), {**variables, "params": params}


def check_both_sides(stack: nn.StackConfig) -> None:
  """Checks that every layer is bidirectional.

  Raises:
    ValueError: naming the first unidirectional layer.
  """
  for index, each in enumerate(stack.every_layer):
    one = each.mixer_config
    if each.mixes and not (
      each.bidirectional or getattr(one, "bidirectional", False)
    ):
      fields = type(one).__dataclass_fields__
      name = "bidirectional"
      if name in fields:
        name = f"bidirectional, or mixer_options.{name}"
      got = f"False in layer {index} of {each.mixer}"
      raise validate.error(f"network.stack.{name}", got, "True")


def letters_of(names: tuple[str, ...], tokens: np.ndarray) -> np.ndarray:
  """Returns the tokens of an array that are not special.

  Args:
    names: names of all tokens; special ones are in angle brackets ("<mask>").
    tokens: integers of any shape.

  Returns:
    (n,) int32, sorted.
  """
  special = [i for i, name in enumerate(names) if is_special(name)]
  return np.setdiff1d(np.unique(tokens), special).astype(np.int32)


def is_special(name: str) -> bool:
  """Returns whether a token is special, such as "<pad>"."""
  return len(name) > 2 and name.startswith("<") and name.endswith(">")
