"""Losses of language models that read a prefix at once, as the mixer `jrt`.

The elements of the prefix see each other, so that the next token is no question
there: some of its tokens are hidden, and the network tells these where they
stood; behind the prefix it predicts the next one.

  loss = next-token loss from the prefix on + weight * loss of hidden tokens

Arora et al., "Just read twice", arXiv:2407.05483, section 4.2: 15 % of the
tokens of the prefix are hidden, which is half of a sequence of 2048, and the
weight is 0.25. The authors' code adds the two means up; so does this.

    key_hidden, key = jax.random.split(key)
    inputs, hidden = hide(key_hidden, tokens[:, :-1], prefix, mask_token)
    options = {"prefix": prefix}
    logits, _ = network.apply(variables, inputs, options=options)
    loss, metrics = prefix_loss(logits, tokens, hidden, prefix)
"""

import jax
import jax.numpy as jnp

from jaxseq import _validate
from jaxseq.tasks import base


def hide(
  key: jax.Array,
  tokens: jax.Array,
  prefix: jax.Array | int,
  mask_token: int,
  share: float = 0.15,
) -> tuple[jax.Array, jax.Array]:
  """Hides tokens of the prefix, each by itself.

  Args:
    key: random key.
    tokens: (*batch, time) integers.
    prefix: length of the prefix, an integer or integers (*batch,).
    mask_token: what stands in the place of hidden tokens; one that no text has.
    share: probability of a token to be hidden.

  Returns:
    The tokens with some hidden, and which these are, (*batch, time) bool.

  Raises:
    ValueError: if the share is out of range.
  """
  _validate.number("share", share, 0, 1)
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
  """Returns the loss behind the prefix plus that of tokens hidden in it.

  Args:
    logits: (*batch, time, vocab) of the network on `hide(tokens[..., :-1])`.
    tokens: (*batch, time + 1) integers, nothing hidden.
    hidden: (*batch, time) bool, from `hide`.
    prefix: length of the prefix, an integer or integers (*batch,).
    weight: of the mean over hidden tokens.
    mask: (*batch, time) bool, False for inputs that are padding, which are not
      scored; None for none. The token after a scored input must not be padding.

  Returns:
    The loss in nats, and its parts "next_token_loss" and "hidden_token_loss",
    means over what is scored of either kind, 0 where that is nothing.

  Raises:
    ValueError: if the shapes do not fit each other.
  """
  *batch, time, _ = _validate.shape(
    "logits", logits, ("*batch", "time", "vocab")
  )
  _validate.shape("tokens", tokens, (*batch, time + 1))
  _validate.shape("hidden", hidden, (*batch, time))
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
