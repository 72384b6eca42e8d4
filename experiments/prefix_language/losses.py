"""Losses of language models that read a prefix at once, as the mixer `jrt`.

The elements of the prefix see each other, so that predicting the next token is
trivial there: some of its tokens are masked instead, and the network predicts
these at their places; after the prefix it predicts the next token.

  loss = next-token loss from the prefix on + weight * loss of masked tokens

Arora et al., "Just read twice", arXiv:2407.05483, section 4.2: 15 % of the
tokens of the prefix, which is half of a sequence of 2048, are masked, and the
weight is 0.25. The authors' code adds the two means; this module also does.

    key_hidden, key = jax.random.split(key)
    inputs, hidden = hide(key_hidden, tokens[:, :-1], prefix, mask_token)
    options = {"prefix": prefix}
    logits, _ = network.apply(variables, inputs, options=options)
    loss, metrics = prefix_loss(logits, tokens, hidden, prefix)
"""

import jax
import jax.numpy as jnp

from jaxseq import validate
from jaxseq.tasks import base


def hide(
  key: jax.Array,
  tokens: jax.Array,
  prefix: jax.Array | int,
  mask_token: int,
  share: float = 0.15,
) -> tuple[jax.Array, jax.Array]:
  """Masks tokens of the prefix, each independently.

  Args:
    key: random key.
    tokens: (*batch, time) integers.
    prefix: length of the prefix, an integer or integers (*batch,).
    mask_token: replacement of masked tokens, one that is not in any text.
    share: probability of a token to be masked.

  Returns:
    The tokens with some masked, and the mask of these, (*batch, time) bool.

  Raises:
    ValueError: if the share is out of range.
  """
  validate.number("share", share, 0, 1)
  hidden = jax.random.bernoulli(key, share, tokens.shape)
  hidden &= _of_prefix(tokens.shape[-1], prefix)
  return jnp.where(hidden, mask_token, tokens), hidden


def prefix_loss(
  logits: jax.Array,
  tokens: jax.Array,
  hidden: jax.Array,
  prefix: jax.Array | int,
  *,
  weight: float = 0.25,
  mask: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the loss after the prefix plus that of masked tokens in it.

  Args:
    logits: (*batch, time, vocab) of the network on `hide(tokens[..., :-1])`.
    tokens: (*batch, time + 1) integers, without masks.
    hidden: (*batch, time) bool, from `hide`.
    prefix: length of the prefix, an integer or integers (*batch,).
    weight: weight of the mean over masked tokens.
    mask: (*batch, time) bool, False for padding, which is not scored; None
      without padding. The token after a scored input must not be padding.

  Returns:
    The loss in nats, and its parts "next_token_loss" and "hidden_token_loss",
    each a mean over its scored tokens, or 0 without any.

  Raises:
    ValueError: if the shapes do not fit each other.
  """
  *batch, time, _ = validate.shape(
    "logits", logits, ("*batch", "time", "vocab")
  )
  validate.shape("tokens", tokens, (*batch, time + 1))
  validate.shape("hidden", hidden, (*batch, time))
  behind = jnp.broadcast_to(~_of_prefix(time, prefix), hidden.shape)
  if mask is not None:
    hidden, behind = hidden & mask, behind & mask
  next_token, _, _ = base.cross_entropy(logits, tokens[..., 1:], behind)
  hidden_token, _, _ = base.cross_entropy(logits, tokens[..., :-1], hidden)
  metrics = {"next_token_loss": next_token, "hidden_token_loss": hidden_token}
  return next_token + weight * hidden_token, metrics


def _of_prefix(time, prefix):
  """The mask of the prefix, (time,) or (*batch, time)."""
  return jnp.arange(time) < jnp.asarray(prefix)[..., None]
