"""The recommendations of a trained model: arrays, table and stream."""

from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq import validate
from jaxseq.data import _time_stamps
from jaxseq.tasks import outputs
from jaxseq.tasks.recommendation import item_streams
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.tasks.recommendation.network import ItemNetwork
from jaxseq.types import PyTree


def arguments(
  network: ItemNetwork, dataset: data.ArrayDataset
) -> dict[str, np.ndarray]:
  """Returns "items" (n, time) int32, "lengths" (n,) and perhaps "gaps"."""
  return outputs.present(
    items=np.asarray(dataset.inputs),
    lengths=dataset.lengths,
    gaps=dataset.extras.gaps if network.gaps else None,
  )


def compute(
  network: ItemNetwork, variables: PyTree, arguments: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Returns "item" (n, k) int32 from 0 on, the best first, and their "score".

  k is `item_metrics.TOP`, or the number of items if smaller. The scores are log
  probabilities among all items; -inf if no item is left.
  """
  items, lengths = arguments["items"], arguments["lengths"]
  logits = network.apply(
    variables, items, lengths, last=True, gaps=arguments.get("gaps")
  )
  scores, best = item_metrics.top(
    jax.nn.log_softmax(logits), items, lengths, network.repeats
  )
  return {"item": best.astype(jnp.int32), "score": scores}


def predict(
  model: Any, examples: Any
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Returns a row for each item recommended to a user.

  Args:
    model: a `models.Model` of recommendation.
    examples: examples from `model.examples`.

  Returns:
    Columns by name, and the arrays of `compute`.
  """
  arrays = model.outputs(examples.dataset)
  shown = np.isfinite(arrays["score"])
  count = model.network.num_items
  names = np.array(model.preparation.items or tuple(map(str, range(count))))
  columns = outputs.rows(examples.ids, shown, "rank")
  columns["rank"] = columns["rank"] + 1
  columns["item"] = names[arrays["item"]][shown]
  columns["score"] = arrays["score"][shown]
  return columns, arrays


class Stream:
  """Answers interactions with recommended items for the user.

  Args:
    model: a `models.Model` of recommendation.
    most_users: maximum number of users, see `item_streams.Users`.
  """

  def __init__(self, model: Any, most_users: int | None = None):
    self._prepared, self._repeats = model.preparation, model.network.repeats
    self._number = {name: n for n, name in enumerate(self._prepared.items)}
    self._last: dict[Hashable, np.ndarray] = {}
    self._users = item_streams.Users(
      model.network,
      model.variables,
      most_users,
      lambda user: self._last.pop(user, None),
    )

  def __call__(self, row: Mapping[str, str]) -> dict[str, Any]:
    """Reads the item of a row; returns `recommend` for its user."""
    self.update(row)
    return self.recommend(row[self._prepared.user])

  def update(self, row: Mapping[str, str]) -> None:
    """Reads one more item of a user, in constant time.

    Args:
      row: the entries of an interaction by the columns of the training table;
        the time may be missing or empty if the network reads no gaps.

    Raises:
      KeyError: if a column is missing.
      ValueError: if an entry is empty, the item was not in the training, or
        the time is invalid, or before the user's last one and the network reads
        gaps.
    """
    prepared = self._prepared
    user, item = (
      _entry(row[column], column) for column in (prepared.user, prepared.item)
    )
    number, gap = self._place(item), None
    if self._users.network.gaps:
      stamp = self._stamp(row)
      last = self._last.get(user, stamp)
      if last.dtype != stamp.dtype or last[0] > stamp[0]:
        expected = f"a time from {last[0]} on, that of the user's last event"
        raise validate.error(prepared.time, row[prepared.time], expected)
      both = np.concatenate([last, stamp])
      self._last[user], gap = stamp, float(prepared.gaps(both)[1])
    elif row.get(prepared.time):
      self._stamp(row)
    self._users.update(user, number + 1, gap)

  def recommend(
    self,
    user: str,
    k: int = item_metrics.TOP,
    *,
    repeats: bool | None = None,
    items: Sequence[str] | None = None,
  ) -> dict[str, Any]:
    """Returns the best "items" of a "user", by name, and their "scores".

    Args:
      user: a user with at least one earlier event.
      k: number of items; fewer if no other item is left.
      repeats: whether items of the history may be recommended; as in training
        if None.
      items: items that may be recommended; all if None.

    Raises:
      ValueError: if the user or one of the items is unknown.
    """
    allowed = None if items is None else [self._place(x) for x in items]
    if user not in self._users:
      expected = (
        "one that has sent an event to this server, not too long ago: histories"
        " start empty, also of users of the training"
      )
      raise validate.error("user", user, expected)
    repeats = self._repeats if repeats is None else repeats
    (best,), (scores,) = self._users.recommend([user], k, repeats, allowed)
    shown = np.isfinite(scores)
    return {
      "user": user,
      "items": [self._prepared.items[n] for n in best[shown]],
      "scores": scores[shown].tolist(),
    }

  def _stamp(self, row):
    """The time (1,) of a row."""
    column = self._prepared.time
    word = _entry(row[column], column)
    prepared = self._prepared
    return _time_stamps.parse(
      [word], lambda _: column, prepared.dates, prepared.form
    )

  def _place(self, name):
    """The number of an item, from 0 on."""
    if name not in self._number:
      expected = "an item of the training"
      raise validate.error("item", str(name)[:40], expected)
    return self._number[name]


def _entry(value, column):
  """An entry of a row; raises if it is empty, or the row is too short."""
  if not value:
    raise ValueError(f"{column}: got nothing, expected an entry of the row.")
  return value
