"""Wishes in words, which condition the recommendations of a network of codes.

A wish is a text after a user's history, such as "wants Comedy", before the
codes of the next item. In training it names a word of an attribute of that item
half of the time, and is empty otherwise. Conditioning generated ids on
preferences in words is the idea of Mender (Paischer et al., arXiv:2412.08604);
here they are words of the catalog, and no language model writes or reads them.
"""

from collections.abc import Mapping
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.tasks.recommendation import item_texts
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.types import Network
from jaxseq.types import PyTree

# Maximum number of words of a wish, and number of hash classes of words.
LENGTH, BUCKETS = 3, 512


def tokens(wish: str) -> np.ndarray:
  """Returns the words (`LENGTH`,) int32 of a wish, in 0 .. `BUCKETS` - 1.

  An empty wish has the class 0 at each word.

    >>> bool((tokens("wants Comedy") == tokens("wants comedy!")).all())
    True
  """
  classes = item_texts.classes(wish, BUCKETS, LENGTH)
  return np.array(classes + [0] * (LENGTH - len(classes)), np.int32)


def members(
  attributes: Sequence[Mapping[str, str]], key: str
) -> dict[str, np.ndarray]:
  """Returns masks (items,) of the items that have each word of an attribute.

  Args:
    attributes: per item, see `InteractionSource.attributes`.
    key: key of the attribute, such as "genres".

  Raises:
    ValueError: if no item has a word.
  """
  words = [set(text.get(key, "").split()) for text in attributes]
  every = sorted(set().union(*words))
  if not every:
    raise validate.error("wish", key, "an attribute with words")
  return {word: np.array([word in some for some in words]) for word in every}


def tables(has: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the wishes of items by their `members`, no wish in the first row.

  Returns:
    "wishes" (1 + items, most, `LENGTH`) int32, and "wished" (1 + items,) int32,
    the number of wishes of each item.
  """
  table = np.pad(np.stack(list(has.values()), axis=1), ((1, 0), (0, 0)))
  counts = table.sum(axis=1).astype(np.int32)
  order = np.argsort(~table, axis=1, kind="stable")[:, : counts.max()]
  texts = np.stack([tokens(f"wants {word}") for word in has])
  return {"wishes": texts[order], "wished": counts}


def draw(
  known: Mapping[str, jax.Array], target: jax.Array, key: jax.Array
) -> jax.Array:
  """Returns wishes (n, `LENGTH`) of the targets, empty half of the time.

  Args:
    known: tables from `tables`.
    target: (n,) items, from 1 on.
    key: key of the draws.
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
  """Assigns a wish to each user, from the common ones in turn.

  Args:
    has: masks from `members`.
    users: number of users.

  Returns:
    The words (users, `LENGTH`), and masks (users, items) of the items that
    fulfill the wish. A wish is common if at least `item_metrics.TOP` items do.

  Raises:
    ValueError: if no wish is common.
  """
  common = [word for word, x in has.items() if x.sum() >= item_metrics.TOP]
  if not common:
    got, expected = "none that is common", f"a word of {item_metrics.TOP} items"
    raise validate.error("wish", got, expected)
  names = [common[n % len(common)] for n in range(users)]
  words = np.stack([tokens(f"wants {name}") for name in names])
  return words, np.stack([has[name] for name in names])


def steering(
  network: Network,
  variables: PyTree,
  batch: data.ArrayDataset,
  words: jax.Array,
  wanted: jax.Array,
) -> dict[str, jax.Array]:
  """Returns the share (n,) of recommended items that fulfill the wish.

  Args:
    network: a `semantic_network.SemanticNetwork` that reads wishes.
    variables: variables of the network.
    batch: histories of n users.
    words: words of their wishes, see `asked`.
    wanted: (n, items) masks of items that fulfill them, see `asked`.

  Returns:
    "steered", the share among the ten best items; "unsteered", the share among
    the ten best without the wish.
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
