"""Hiding of tokens, which a masked language model tells from the others.

    masked = masking.mask(key, tokens, allowed, mask_token, letters)
    logits = network.apply(variables, masked.inputs, lengths)
    loss, accuracy, count = base.cross_entropy(logits, tokens, masked.scored)

Devlin et al., "BERT", arXiv:1810.04805.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxseq import _validate


class Masked(NamedTuple):
  """Tokens of which some are hidden; arrays are (*batch, time).

  Attributes:
    inputs: integers, what a network reads.
    scored: bool, which tokens it is asked for.
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
  """Chooses tokens, each by itself, and hides most of them.

  Of those that are chosen some become the mask and some any letter, which may
  be the one that stood there; the rest stays. So the network has to tell all of
  them apart from what stands around, and no place can be left out. Where a
  token is shown as it is, or as it may be, less is to be told: with letters
  that are drawn evenly and 0.8 and 0.1 the loss is below their entropy, and
  only with `hidden` 1 it can equal that.

  Args:
    key: random key.
    tokens: (*batch, time) integers.
    allowed: (*batch, time) bool, which may be chosen: no special tokens, and no
      padding.
    mask_token: what stands in the place of a hidden one.
    letters: (n,) integers that are drawn from, each as likely.
    share: probability of a token to be chosen.
    hidden: share of the chosen that are hidden.
    random: share of the chosen that are drawn anew.

  Raises:
    ValueError: if a share is out of range or a shape does not fit.
  """
  _validate.number("share", share, 0, 1)
  _validate.number("hidden", hidden, 0, 1)
  _validate.number("random", random, 0, 1 - hidden)
  _validate.shape("allowed", allowed, jnp.shape(tokens))
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
  """Leaves the embedding of the mask out, as ESM does ("token dropout").

  Rows are scaled by (1 - share) / (1 - the share of masks in them), as dropout
  scales, so that rows without a mask look as those of training do.

  Args:
    x: (*batch, time, n) embeddings.
    tokens: (*batch, time) integers.
    mask_token: the mask.
    lengths: (*batch,) numbers of valid tokens; all are if None.
    share: of masks in training.

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
