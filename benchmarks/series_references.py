"""What a random forest makes of labeled series: the line to stay above.

  python -m benchmarks.series_references [--data japanese_vowels]

Test accuracy of 300 trees on statistics of each channel: mean, deviation,
extremes, mean absolute difference, the means of the four quarters; and the
length.
"""

import argparse

import numpy as np
from sklearn import ensemble

from jaxseq import data
from jaxseq.training import tables


def features(inputs: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
  """Returns one row per series (n, time, channels): 9 numbers a channel."""
  rows = []
  for i, series in enumerate(inputs):
    series = series if lengths is None else series[: lengths[i]]
    quarters = [part.mean(0) for part in np.array_split(series, 4)]
    rows.append(
      np.concatenate(
        [
          series.mean(0),
          series.std(0),
          series.min(0),
          series.max(0),
          np.abs(np.diff(series, axis=0)).mean(0),
          *quarters,
          [len(series)],
        ]
      )
    )
  return np.stack(rows)


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data", default="japanese_vowels")
  parser.add_argument("--seeds", type=int, default=3)
  flags = parser.parse_args()
  try:
    splits = data.load(flags.data)
  except ValueError as error:
    parser.error(str(error))
  if splits.train.inputs.ndim != 3 or splits.train.targets.ndim != 1:
    parser.error(f"--data: {flags.data} holds no labeled series.")
  train, test = (
    (features(part.inputs, part.lengths), part.targets)
    for part in (splits.train, splits.test)
  )
  scores = [
    ensemble.RandomForestClassifier(300, random_state=seed)
    .fit(*train)
    .score(*test)
    for seed in range(flags.seeds)
  ]
  print(
    f"{flags.data}: {len(train[1])} series to train on, {len(test[1])} to"
    f" test; random forest {tables.mean_std(scores)}"
  )


if __name__ == "__main__":
  main()
