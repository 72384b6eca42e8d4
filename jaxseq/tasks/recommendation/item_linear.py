"""Scores of EASE that a network starts from, and adds to.

EASE is fitted to the training part before the training, see `baselines.ease`,
and after it to the validation part, too: only the network's own variables were
chosen by that part. The scores after each item of a history are sums of rows of
a matrix; a network with them ranks as EASE does until it has learned something
better.
"""

from collections.abc import Mapping
import itertools

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.tasks import ranking
from jaxseq.tasks.recommendation import baselines as item_baselines
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.types import PyTree

# Maximum number of items: the matrix is part of the model's file.
MOST = 2_048
# The collection of variables that are not trained.
ITEMS = "items"
# Scores are about 0.1 for likely items: log probabilities need larger steps.
_SCALE = 20.0


class LinearScores(linen.Module):
  """Sums of rows of a matrix, and their weighted sum with logits.

  Attributes:
    num_items: number of items, without padding.
  """

  num_items: int

  def setup(self) -> None:
    """Creates the matrix and the weights of the two scores."""
    shape = self.num_items + 1, self.num_items
    self.matrix = self.variable(ITEMS, "linear", jnp.zeros, shape)
    self.decay = self.variable(ITEMS, "decay", jnp.ones, ())
    self.scale = self.param("scale", linen.initializers.zeros, ())
    self.gain = self.param("gain", linen.initializers.zeros, ())

  def __call__(self, sums: jax.Array, logits: jax.Array) -> jax.Array:
    """Adds logits (..., num_items) of a network, at first with weight 0."""
    return _SCALE * jnp.exp(self.scale) * sums + self.gain * logits

  def sums(self, items: jax.Array) -> jax.Array:
    """Returns the scores (n, time, num_items) after each item of (n, time)."""
    place = jnp.arange(items.shape[1])
    age = place[:, None] - place
    weights = jnp.where(age >= 0, self.decay.value ** jnp.maximum(age, 0), 0)
    return jnp.einsum("tk,nki->nti", weights, self.matrix.value[items])

  def step(self, items: jax.Array, sums: jax.Array) -> jax.Array:
    """Returns the scores (n, num_items) after one more item of each user."""
    return self.decay.value * sums + self.matrix.value[items]


def fit(splits: data.Splits, repeats: bool) -> dict[str, np.ndarray]:
  """Fits EASE to the training part, with the best options on validation.

  Args:
    splits: data as from `data.sources.interactions.make_splits`.
    repeats: see `item_metrics.of_scores`.

  Returns:
    "linear", (items + 1, items) float32, whose first row is that of the
    padding, "decay", the weight of an item relative to the one after it, and
    the "regularization".
  """
  known = item_baselines.histories(splits, "train")
  inverses = {
    regularization: item_baselines.ease_inverse(known.has, regularization)
    for regularization in item_metrics.REGULARIZATIONS
  }
  regularization, decay = item_metrics.REGULARIZATIONS[0], 1.0
  if splits.valid is not None:
    regularization, decay = _best(splits, repeats, known, inverses)
  return {
    "linear": _matrix(inverses[regularization]),
    "decay": np.float32(decay),
    "regularization": np.float32(regularization),
  }


def _best(splits, repeats, known, inverses):
  """The best regularization and decay on the validation part."""

  def values(option):
    regularization, decay = option
    scorer = item_baselines.ease(known, decay, inverse=inverses[regularization])
    return item_metrics.of_users(scorer, splits, "valid", repeats)

  def best(decays):
    options = {x: values(x) for x in itertools.product(inverses, decays)}
    return max(options.items(), key=lambda option: option[1].mean())

  (plain, reference), (other, users) = best([1.0]), best(item_metrics.DECAYS)
  # The best of many options is better by chance: order has to count for more.
  mean, error = ranking.paired(users[None], reference)
  return other if mean > error else plain


def refitted(
  splits: data.Splits, scores: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Returns the result of `fit` with all items before those of the test part.

  Args:
    splits: see `fit`.
    scores: the result of `fit`.
  """
  known = item_baselines.histories(splits, "test")
  regularization = float(scores["regularization"])
  inverse = item_baselines.ease_inverse(known.has, regularization)
  return {**scores, "linear": _matrix(inverse)}


def calibrate(
  network: linen.Module, variables: PyTree, splits: data.Splits
) -> PyTree:
  """Returns a network's variables with `refitted` scores, if it has any."""
  if not getattr(network, "linear", False):
    return variables
  scores = refitted(splits, variables[ITEMS]["scores"])
  return {**variables, ITEMS: {**variables[ITEMS], "scores": scores}}


def _matrix(inverse):
  """The weights of EASE, with a row for the padding in front."""
  weights = item_baselines.ease_weights(inverse)
  return np.pad(weights, ((1, 0), (0, 0))).astype(np.float32)
