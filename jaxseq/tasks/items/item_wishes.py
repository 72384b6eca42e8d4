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
import re
from typing import Any
import zlib

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq import data
from jaxseq.tasks.items import item_metrics
from jaxseq.tasks.items import item_network

# Words of a wish that are read, and classes into which words fall by a hash.
LENGTH, BUCKETS = 3, 512


def tokens(wish: str, first: int) -> np.ndarray:
  """Returns the words (`LENGTH`,) int32 of a wish; an empty one has none.

    >>> bool((tokens("wants Comedy", 9) == tokens("wants comedy!", 9)).all())
    True

  Args:
    wish: a text.
    first: the number of the first class of words.
  """
  words = re.findall(r"\w+", wish.lower())[:LENGTH]
  words += [""] * (LENGTH - len(words))
  classes = [zlib.crc32(word.encode()) % BUCKETS for word in words]
  return np.array(classes, np.int32) + np.int32(first)


def members(
  attributes: Sequence[Mapping[str, str]], key: str
) -> dict[str, np.ndarray]:
  """Returns which items (items,) bool have each word of an attribute.

  Args:
    attributes: of each item, see `InteractionSource.attributes`.
    key: of the attribute, such as "genres".
  """
  words = [set(text.get(key, "").split()) for text in attributes]
  return {
    word: np.array([word in some for some in words])
    for word in sorted(set().union(*words))
  }


def tables(has: Mapping[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
  """Returns the wishes of items, with none in the first row.

  Args:
    has: as from `members`.
    first: see `tokens`.

  Returns:
    "wishes" (1 + items, most, `LENGTH`) int32, and "wished" (1 + items,) int32,
    how many each item has.
  """
  table = np.pad(np.stack(list(has.values()), axis=1), ((1, 0), (0, 0)))
  counts = table.sum(axis=1).astype(np.int32)
  order = np.argsort(~table, axis=1, kind="stable")[:, : counts.max()]
  texts = np.stack([tokens(f"wants {word}", first) for word in has])
  return {"wishes": texts[order], "wished": counts}


def draw(
  known: Mapping[str, jax.Array], target: jax.Array, first: int, key: jax.Array
) -> jax.Array:
  """Returns wishes (n, `LENGTH`), each of a target's, or none half of the time.

  Args:
    known: as from `tables`.
    target: (n,) items, from 1 on.
    first: see `tokens`.
    key: of the draws.
  """
  number, silent = jax.random.split(key)
  count = known["wished"][target]
  place = jax.random.randint(number, target.shape, 0, jnp.maximum(count, 1))
  speaks = (count > 0) & jax.random.bernoulli(silent, 0.5, target.shape)
  words = known["wishes"][target, place]
  return jnp.where(speaks[:, None], words, tokens("", first))


def asked(
  has: Mapping[str, np.ndarray], users: int, first: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a wish for each user, one after the other of all that are common.

  Args:
    has: as from `members`.
    users: how many.
    first: see `tokens`.

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
  chosen = [common[n % len(common)] for n in range(users)]
  words = np.stack([tokens(f"wants {word}", first) for word in chosen])
  return words, np.stack([has[word] for word in chosen])


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
    allowed = item_metrics.candidates(
      batch.inputs, batch.lengths, logits, network.repeats
    )
    if allowed is not None:
      logits = jnp.where(allowed, logits, -jnp.inf)
    _, best = lax.top_k(logits, min(item_metrics.TOP, network.num_items))
    hits = jnp.take_along_axis(wanted, best, axis=1)
    shares[name] = hits.mean(axis=1)
  return shares


def of_network(variables: Any) -> dict[str, jax.Array]:
  """Returns what `tables` made, among the variables of a network."""
  items = variables[item_network.ITEMS]
  return {name: jnp.asarray(items[name]) for name in ("wishes", "wished")}
