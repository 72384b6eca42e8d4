"""Wishes in words, which steer what a network of codes recommends.

A wish is a text behind what a user has taken, such as "wants Comedy", before
the codes of the item that comes next. In training it names one of the words of
an attribute of that item, or nothing, as often. Preferences in words as the
condition of generated ids are the idea of Mender (Paischer et al.,
arXiv:2412.08604); here they are words of the catalog, and no language model
writes or reads them.
"""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq.tasks.items import item_metrics
from jaxseq.tasks.items import item_texts

# Words of a wish that are read, and classes into which words fall by a hash.
LENGTH, BUCKETS = 3, 512


def tokens(wish: str) -> np.ndarray:
  """Returns the words (`LENGTH`,) int32 of a wish, in 0 .. `BUCKETS` - 1.

  An empty wish has the words of one without any, 0.

    >>> bool((tokens("wants Comedy") == tokens("wants comedy!")).all())
    True
  """
  classes = item_texts.classes(wish, BUCKETS, LENGTH)
  return np.array(classes + [0] * (LENGTH - len(classes)), np.int32)


def members(
  attributes: Sequence[Mapping[str, str]], key: str
) -> dict[str, np.ndarray]:
  """Returns which items (items,) bool have each word of an attribute.

  Args:
    attributes: of each item, see `InteractionSource.attributes`.
    key: of the attribute, such as "genres".

  Raises:
    ValueError: if no item has any.
  """
  words = [set(text.get(key, "").split()) for text in attributes]
  every = sorted(set().union(*words))
  if not every:
    raise _validate.error("wish", key, "an attribute with words")
  return {word: np.array([word in some for some in words]) for word in every}


def tables(has: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the wishes of items by their `members`, none in the first row.

  Returns:
    "wishes" (1 + items, most, `LENGTH`) int32, and "wished" (1 + items,) int32,
    how many each item has.
  """
  table = np.pad(np.stack(list(has.values()), axis=1), ((1, 0), (0, 0)))
  counts = table.sum(axis=1).astype(np.int32)
  order = np.argsort(~table, axis=1, kind="stable")[:, : counts.max()]
  texts = np.stack([tokens(f"wants {word}") for word in has])
  return {"wishes": texts[order], "wished": counts}


def draw(
  known: Mapping[str, jax.Array], target: jax.Array, key: jax.Array
) -> jax.Array:
  """Returns wishes (n, `LENGTH`), each of a target's, or none half of the time.

  Args:
    known: as from `tables`.
    target: (n,) items, from 1 on.
    key: of the draws.
  """
  number, silent = jax.random.split(key)
  count = known["wished"][target]
  place = jax.random.randint(number, target.shape, 0, jnp.maximum(count, 1))
  speaks = (count > 0) & jax.random.bernoulli(silent, 0.5, target.shape)
  words = known["wishes"][target, place]
  return jnp.where(speaks[:, None], words, tokens(""))


def asked(
  has: Mapping[str, np.ndarray], users: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a wish for each user, one after the other of all that are common.

  Args:
    has: as from `members`.
    users: how many.

  Returns:
    The words (users, `LENGTH`), and which items have what is wished, (users,
    items) bool. Common is what as many items have as are recommended.

  Raises:
    ValueError: if nothing is.
  """
  common = [word for word, x in has.items() if x.sum() >= item_metrics.TOP]
  if not common:
    got, expected = "none that is common", f"a word of {item_metrics.TOP} items"
    raise _validate.error("wish", got, expected)
  names = [common[n % len(common)] for n in range(users)]
  words = np.stack([tokens(f"wants {name}") for name in names])
  return words, np.stack([has[name] for name in names])


def steering(
  network: Any,
  variables: Any,
  batch: data.ArrayDataset,
  words: jax.Array,
  wanted: jax.Array,
) -> dict[str, jax.Array]:
  """Returns which share of what is recommended is as it was wished, (n,) each.

  Args:
    network: a `semantic_network.SemanticNetwork` that reads wishes.
    variables: of it.
    batch: histories of n users.
    words: of their wishes, see `asked`.
    wanted: (n, items), likewise.

  Returns:
    "steered", of the ten best items; "unsteered", of those without the wish.
  """
  shares = {}
  for name, wish in (("steered", words), ("unsteered", None)):
    logits = network.apply(variables, batch.inputs, batch.lengths, words=wish)
    _, best = item_metrics.top(
      logits, batch.inputs, batch.lengths, network.repeats
    )
    hits = jnp.take_along_axis(wanted, best, axis=1)
    shares[name] = hits.mean(axis=1)
  return shares
