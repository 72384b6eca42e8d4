"""The network of supervised tasks: encoder, stack of layers, read-out."""

import dataclasses
from typing import Any

from flax import linen
import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.nn import dense
from jaxseq.nn import heads
from jaxseq.nn import layer
from jaxseq.nn import recurrent
from jaxseq.nn import sequence_model
from jaxseq.nn import series_summaries
from jaxseq.nn.stack import StackConfig
from jaxseq.types import PyTree


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
  """Options of a network: its stack of layers, and its read-out.

  Attributes:
    stack: the layers.
    pooling: "none" reads out every element; "mean" and "last" reduce the
      sequence first.
    head_widths: hidden widths of the read-out.
    head_bias: whether the read-out's last layer has a bias; never with `tie`.
    tie: whether the read-out is the transposed embedding (tokens only).
    embedding_scale: factor on the embedding of tokens, not on the read-out.
    embedding_norm: whether a norm of the stack's kind follows the embedding.
    logit_scale: factor on the outputs.
    logit_cap: outputs y become logit_cap * tanh(y / logit_cap); None for no
      cap.
    summaries: whether a linear map of each input channel's mean, deviation,
      minimum, maximum and last value is added to the outputs; needs pooling.
  """

  stack: StackConfig = StackConfig()
  _: dataclasses.KW_ONLY
  pooling: heads.Pooling = "none"
  head_widths: tuple[int, ...] = ()
  head_bias: bool = True
  tie: bool = False
  embedding_scale: float = 1.0
  embedding_norm: bool = False
  logit_scale: float = 1.0
  logit_cap: float | None = None
  summaries: bool = False

  def __post_init__(self):
    validate.literals(self)
    for width in self.head_widths:
      validate.positive("head_widths", width)
    if self.logit_cap is not None:
      validate.above_zero("logit_cap", self.logit_cap)
    if self.embedding_norm and self.stack.norm in ("none", "batch"):
      expected = "False with a stack of norm 'none' or 'batch'"
      raise validate.error("embedding_norm", True, expected)
    if self.tie and (self.pooling != "none" or self.head_widths):
      raise validate.error(
        "tie", True, "False with pooling or head_widths: it has no other layer"
      )
    if self.summaries and self.pooling == "none":
      raise validate.error("summaries", True, "False with pooling 'none'")


class SequenceNetwork(recurrent.Recurrent):
  """Encoder, `SequenceModel` and read-out, for tokens or feature vectors.

    network = SequenceNetwork(config, num_outputs=256, vocab_size=256)
    variables = network.init(key, tokens)
    logits, states = network.apply(variables, tokens, states, reset)
    logits_t, states = network.apply(
      variables, token_t, states, reset_t, method="step"
    )

  Attributes:
    config: options.
    num_outputs: width of the read-out: classes, or regressed values.
    vocab_size: number of tokens; None for feature vectors, which a dense layer
      encodes.
    pairs: whether an example is two sequences, (*batch, 2, time), each encoded
      separately; `heads.ClassificationHead` reads out both. Needs pooling.
  """

  config: NetworkConfig
  num_outputs: int
  vocab_size: int | None = None
  pairs: bool = False

  @linen.compact
  def __call__(
    self,
    inputs: jax.Array,
    states: PyTree = None,
    reset: jax.Array | None = None,
    lengths: jax.Array | None = None,
    train: bool = False,
    options: dict[str, Any] | None = None,
    step: bool = False,
    at: jax.Array | None = None,
    features: bool = False,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over a sequence.

    Args:
      inputs: (*batch, time) integer tokens, or (*batch, time, features). With
        `pairs`, the last batch axis has length 2, in all arguments.
      states: states before the first element; fresh ones if None.
      reset: (*batch, time) bool; True resets the states to fresh ones before
        that element. None for no resets.
      lengths: (*batch,) numbers of valid elements; all are valid if None. The
        padding does not change the valid outputs, nor the pooled ones.
      train: whether dropout is on and batch norm uses batch statistics.
      options: keyword options of the mixers' `apply`.
      step: whether `inputs` is one element, without a time axis.
      at: (*batch, n) integers, the elements to read out, to save the other
        outputs of a wide read-out; all if None.
      features: whether to return the features of every element before the
        read-out, instead of its outputs.

    Returns:
      Outputs, at least float32: (*batch, time, num_outputs), with n instead of
      time if `at` is given, or (*batch, num_outputs) with pooling, without the
      axis of pairs; and the states after the last element.

    Raises:
      ValueError: if a shape or dtype does not fit.
    """
    config = self.config
    if self.pairs and (step or config.pooling == "none"):
      raise validate.error(
        "pairs",
        True,
        "False " + ("in a step" if step else "with pooling 'none'"),
      )
    if config.summaries and (self.pairs or step or self.vocab_size is not None):
      expected = "False in a step, of tokens and of pairs"
      raise validate.error("summaries", True, expected)
    dtype = jnp.dtype(config.stack.dtype)
    embed = None
    if self.vocab_size is not None:
      _check_tokens(inputs, step)
      # Rounded after the look-up, so that the gradients of a token's many
      # places are summed in float32.
      embed = dense.Embed(
        self.vocab_size,
        config.stack.d_model,
        dtype=jnp.promote_types(dtype, jnp.float32),
        embedding_init=linen.initializers.normal(0.02 if config.tie else 1.0),
        name="embed",
      )
      x = embed(inputs)
      if config.embedding_scale != 1:
        x = config.embedding_scale * x
      x = x.astype(dtype)
    else:
      dtype = dense.activation_dtype(dtype, inputs)
      x = dense.Dense(config.stack.d_model, dtype=dtype, name="encoder")(inputs)
    if config.embedding_norm:
      x = layer.make_norm(
        config.stack, config.stack.norm, dtype, train, "embedding_norm"
      )(x)
    layers = sequence_model.SequenceModel(config.stack, name="stack")
    arguments = x, states, reset, train, options, step, None
    x, states = layers(*arguments, None if step else lengths)
    if at is not None:
      if step or config.pooling != "none":
        expected = "None in a step and with pooling"
        raise validate.error("at", f"shape {jnp.shape(at)}", expected)
      x = jnp.take_along_axis(x, at[..., None], axis=-2)
    if features:
      return x, states
    outputs = self._read_out(x, embed, lengths, step)
    if config.summaries:
      linear = series_summaries.Summaries(self.num_outputs, name="summaries")
      outputs += linear(inputs, lengths)
    if config.logit_scale != 1:
      outputs = config.logit_scale * outputs
    if config.logit_cap is not None:
      outputs = config.logit_cap * jnp.tanh(outputs / config.logit_cap)
    return outputs, states

  def _read_out(self, x, embed, lengths, step):
    """Maps the last layer's features to outputs by the embedding or head."""
    config = self.config
    if config.tie:
      if embed is None:
        raise validate.error(
          "vocab_size", None, "a number of tokens, as the config has tie"
        )
      if self.num_outputs != self.vocab_size:
        raise validate.error(
          "num_outputs",
          self.num_outputs,
          f"{self.vocab_size}, the vocab_size, as the config has tie",
        )
      return embed.attend(x)
    head = heads.ClassificationHead(
      num_classes=self.num_outputs,
      pooling="none" if step else config.pooling,
      widths=config.head_widths,
      out_bias=config.head_bias,
      pairs=self.pairs,
      dtype=x.dtype,
      name="head",
    )
    return head(x, None if config.pooling == "none" else lengths)

  def step(
    self,
    inputs: jax.Array,
    states: PyTree,
    reset: jax.Array | None = None,
    options: dict[str, Any] | None = None,
  ) -> tuple[jax.Array, PyTree]:
    """Runs over one element: (*batch,) tokens or (*batch, features).

    Returns:
      Outputs (*batch, num_outputs) of this element, even if the config pools
      over a sequence, and the states after it.
    """
    if self.config.pooling == "mean":
      raise validate.error("pooling", "mean", "'none' or 'last' in a step")
    return super().step(inputs, states, reset, options)

  @linen.nowrap
  def _fresh(self, batch_shape, dtype, variables):
    layers = sequence_model.SequenceModel(self.config.stack, parent=None)
    inside = {
      name: tree["stack"] for name, tree in variables.items() if "stack" in tree
    }
    return layers.initial_state(batch_shape, dtype, inside)


def _check_tokens(inputs, step):
  """Checks the layout of tokens."""
  layout = "(*batch,)" if step else "(*batch, time)"
  if not jnp.issubdtype(jnp.result_type(inputs), jnp.integer):
    raise validate.error(
      "inputs",
      f"dtype {jnp.result_type(inputs)}",
      f"integer tokens of shape {layout}, as vocab_size is set",
    )
  if not step and jnp.ndim(inputs) < 1:
    raise validate.error("inputs", "shape ()", f"shape {layout}")
