"""Item histories of users, and training examples of later items."""

from collections.abc import Hashable
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxseq import data
from jaxseq.data.sources import interactions


class Histories:
  """All items of each user, in their order.

  Args:
    gaps: whether to store the gaps before the items, too.

  Attributes:
    items: lists of item numbers from 1 on, by user.
    gaps: lists of the gaps before the items, by user; None without gaps.
    last: times of the newest items, by user, if they are known.
  """

  def __init__(self, gaps: bool):
    self.items: dict[Hashable, list[int]] = {}
    self.gaps: dict[Hashable, list[float]] | None = {} if gaps else None
    self.last: dict[Hashable, Any] = {}

  def extend(
    self,
    user: Hashable,
    items: Sequence[int],
    gaps: Sequence[float] | None,
    last: object,
  ) -> None:
    """Appends items to the history of a user, who may be new.

    Args:
      user: the user's name.
      items: item numbers from 1 on.
      gaps: gaps before the items; None without gaps.
      last: time of the last one; None if it is not known.
    """
    self.items.setdefault(user, []).extend(map(int, items))
    if self.gaps is not None and gaps is not None:
      self.gaps.setdefault(user, []).extend(map(float, gaps))
    if last is not None:
      self.last[user] = last

  def examples(
    self,
    users: Sequence[Hashable],
    items: Sequence[np.ndarray],
    gaps: Sequence[np.ndarray] | None,
    length: int,
  ) -> data.ArrayDataset | None:
    """Returns examples whose targets are the new items.

    Args:
      users: the users, each once.
      items: for each user the new items (n_i,), from 1 on.
      gaps: for each user the gaps before them; None without gaps.
      length: length of the chunks and the arrays.

    Returns:
      Chunks of the extended histories, which begin with up to `length` earlier
      items; padded to a power of two with examples without a target. None if no
      item has a predecessor.
    """
    before = [self.items.get(user, [])[-length:] for user in users]
    whole = [np.array([*a, *b], np.int32) for a, b in zip(before, items)]
    fresh = [np.arange(len(x)) >= len(a) for a, x in zip(before, whole)]
    between = None
    if gaps is not None and self.gaps is not None:
      between = [
        np.array([*self.gaps.get(user, [])[-length:], *gap], np.float32)
        for user, gap in zip(users, gaps)
      ]
    parts = [np.zeros(len(x), int) for x in whole]
    pieces = interactions.examples(whole, parts, 0, length, between)
    if pieces is None:
      return None
    new = interactions.examples(fresh, parts, 0, length).targets
    chosen = np.flatnonzero(new.any(axis=1))
    pieces = pieces._replace(targets=np.where(new, pieces.targets, 0))
    count = 1 << (len(chosen) - 1).bit_length()
    rows = np.pad(chosen, (0, count - len(chosen)), mode="edge")
    pieces = data.take(pieces, rows)
    pieces.targets[len(chosen) :] = 0
    wide = [(0, 0), (0, length - pieces.inputs.shape[1])]
    extras = pieces.extras
    if extras.gaps is not None:
      extras = extras._replace(gaps=np.pad(extras.gaps, wide))
    inputs, targets = (np.pad(x, wide) for x in pieces[:2])
    return pieces._replace(inputs=inputs, targets=targets, extras=extras)
