"""Masking of tokens for masked language models.

    masked = masking.mask(key, tokens, allowed, mask_token, letters)
    logits = network.apply(variables, masked.inputs, lengths)
    loss, accuracy, count = base.cross_entropy(logits, tokens, masked.scored)

Devlin et al., "BERT", arXiv:1810.04805.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import validate


class Masked(NamedTuple):
  """Tokens, some of which are masked; arrays are (*batch, time).

  Attributes:
    inputs: integers, the network's inputs.
    scored: bool, tokens that the network has to predict.
  """

  inputs: jax.Array
  scored: jax.Array


def mask(
  key: jax.Array,
  tokens: jax.Array,
  allowed: jax.Array,
  mask_token: int,
  letters: jax.Array,
  *,
  share: float = 0.15,
  hidden: float = 0.8,
  random: float = 0.1,
) -> Masked:
  """Chooses tokens independently, and masks most of them.

  Chosen tokens are replaced by the mask or by a random letter, which may be the
  true one, or stay unchanged. So the network has to predict all of them from
  their context, and cannot ignore any place. A token that is or may be visible
  is easier to predict: for uniformly drawn letters with 0.8 and 0.1 the loss is
  below their entropy, and only with `hidden` 1 can it equal that.

  Args:
    key: random key.
    tokens: (*batch, time) integers.
    allowed: (*batch, time) bool, tokens that may be chosen, without special
      tokens and padding.
    mask_token: replacement of a masked token.
    letters: (n,) integers for uniform draws.
    share: probability of a token to be chosen.
    hidden: share of the chosen tokens that are masked.
    random: share of the chosen tokens that are replaced by random letters.

  Raises:
    ValueError: if a share is out of range or a shape does not fit.
  """
  validate.number("share", share, 0, 1)
  validate.number("hidden", hidden, 0, 1)
  validate.number("random", random, 0, 1 - hidden)
  validate.shape("allowed", allowed, jnp.shape(tokens))
  choice, way, draw = jax.random.split(key, 3)
  scored = jax.random.bernoulli(choice, share, tokens.shape) & allowed
  u = jax.random.uniform(way, tokens.shape)
  index = jax.random.randint(draw, tokens.shape, 0, len(letters))
  drawn = jnp.asarray(letters, tokens.dtype)[index]
  shown = jnp.where(u < hidden + random, drawn, tokens)
  shown = jnp.where(u < hidden, mask_token, shown)
  return Masked(jnp.where(scored, shown, tokens), scored)


def drop_masks(
  x: jax.Array,
  tokens: jax.Array,
  mask_token: int,
  lengths: jax.Array | None = None,
  share: float = 0.15 * 0.8,
) -> jax.Array:
  """Sets the embeddings of masks to 0, like ESM ("token dropout").

  Rows are scaled by (1 - share) / (1 - the share of masks in them), as in
  dropout, so that rows without masks have the scale of training rows.

  Args:
    x: (*batch, time, n) embeddings.
    tokens: (*batch, time) integers.
    mask_token: the mask.
    lengths: (*batch,) numbers of valid tokens; None if all are valid.
    share: share of masks in training.

  Returns:
    x's shape.
  """
  masked = tokens == mask_token
  count = tokens.shape[-1] if lengths is None else lengths
  count = jnp.maximum(jnp.asarray(count, x.dtype), 1)
  observed = masked.sum(axis=-1).astype(x.dtype) / count
  left = jnp.maximum(1 - observed, 1 / count)
  scale = (1 - share) / left
  return jnp.where(masked[..., None], 0, x) * scale[..., None, None]
