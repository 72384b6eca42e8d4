r"""Differences between arms of recommendation, paired by user.

    python -m benchmarks.recommend_pairs runs/ml100k sasrec gru4rec ...

Each arm is compared with the first one on the users of the test part: the mean
over users and seeds of the difference of NDCG@10 and HR@10, and its standard
error by users. Arms of other runs on the same data are named DIR/ARM.
"""

import pathlib
import sys

import numpy as np

from jaxseq.tasks import ranking
from jaxseq.tasks import recommendation
from jaxseq.training import tables


def main(directory: str, *names: str) -> None:
  """Prints the differences of arms of a run."""
  users = [
    dict(np.load(pathlib.Path(directory, name, recommendation.USERS)))
    for name in names
  ]
  rows = []
  for name, values in zip(names[1:], users[1:]):
    cells = []
    for metric in ("ndcg_10", "hit_rate_10"):
      reference = users[0][metric].mean(axis=0)
      mean, error = ranking.paired(values[metric], reference)
      cells.append(f"{mean.mean():+.4f} ± {error:.4f}")
    rows.append([name, len(values["ndcg_10"]), *cells])
  tables.show(
    ["arm", "seeds", "NDCG@10", "HR@10"],
    rows,
    title=f"above {names[0]}, ± standard error by users",
  )


if __name__ == "__main__":
  main(*sys.argv[1:])
