"""Other libraries on the parts that `own_file_peers` has written as arrays.

It runs in an environment that has no jaxseq:

    PYTHON benchmarks/peers_own.py MODEL IN.npz OUT.npz
"""

import sys

import numpy as np


def auto_ets(found: dict) -> dict:
  """Forecasts (origins, horizon, channels) of AutoETS, fitted once."""
  from statsforecast import models

  train, past, origins = found["train"], found["past"], found["origins"]
  horizon, period = int(found["horizon"]), int(found["period"])
  out = np.zeros((len(origins), horizon, train.shape[1]))
  for channel in range(train.shape[1]):
    fitted = models.AutoETS(season_length=period)
    fitted.fit(train[:, channel].astype(float))
    for i, origin in enumerate(origins):
      seen = past[:origin, channel].astype(float)
      out[i, :, channel] = fitted.forward(seen, horizon)["mean"]
  return {"forecast": out}


def seasonal_naive(found: dict) -> dict:
  """Forecasts (origins, horizon, channels): the value a season before."""
  from statsforecast import models

  past, origins = found["past"], found["origins"]
  horizon, period = int(found["horizon"]), int(found["period"])
  out = np.zeros((len(origins), horizon, past.shape[1]))
  model = models.SeasonalNaive(season_length=period)
  for channel in range(past.shape[1]):
    for i, origin in enumerate(origins):
      seen = past[:origin, channel].astype(float)
      out[i, :, channel] = model.forecast(seen, horizon)["mean"]
  return {"forecast": out}


def _taken(found):
  from scipy import sparse

  items, lengths = found["items"], found["lengths"]
  inside = np.arange(items.shape[1]) < lengths[:, None]
  users = np.repeat(np.arange(len(items)), lengths)
  values = np.ones(len(users), np.float32)
  shape = len(items), int(found["count"])
  return sparse.csr_matrix((values, (users, items[inside] - 1)), shape)


def als(found: dict) -> dict:
  """Scores (users, items) of implicit's ALS.

  Of the numbers of factors it has that which finds most often, in the training
  part, the item that a user has taken last.
  """
  from implicit.als import AlternatingLeastSquares

  def fitted(factors, taken):
    model = AlternatingLeastSquares(factors, random_state=0, num_threads=1)
    model.fit(taken, show_progress=False)
    return model.user_factors @ model.item_factors.T

  users = np.arange(len(found["items"]))
  last = found["items"][users, found["lengths"] - 1] - 1
  earlier = _taken({**found, "lengths": found["lengths"] - 1})

  def hits(factors):
    scores = fitted(factors, earlier)
    scores[earlier.nonzero()] = -np.inf
    higher = scores > scores[users, last][:, None]
    return (higher.sum(axis=1) < 10).mean()

  best = max((8, 16, 32, 64), key=hits)
  return {"scores": fitted(best, _taken(found)), "factors": best}


def ease(found: dict) -> dict:
  """Scores (users, items) of EASE (Steck 2019), regularized by 100."""
  taken = _taken(found).toarray().astype(float)
  gram = taken.T @ taken + 100 * np.eye(taken.shape[1])
  inverse = np.linalg.inv(gram)
  weights = inverse / -np.diag(inverse)
  np.fill_diagonal(weights, 0)
  return {"scores": taken @ weights}


def _series(found, part):
  pairs = zip(found[f"{part}_inputs"], found[f"{part}_lengths"])
  return [x[:length].T.astype(float) for x, length in pairs]


def _classes(model, found, train, test):
  model.fit(train, found["train_targets"])
  return {"classes": model.predict(test).astype(int)}


def minirocket(found: dict) -> dict:
  """Classes (n,) by aeon's MiniRocket, of series stretched to one length."""
  from aeon.classification.convolution_based import MiniRocketClassifier

  longest = found["train_inputs"].shape[1]
  at = np.linspace(0, 1, longest)
  parts = (
    np.stack(
      [
        [np.interp(at, np.linspace(0, 1, len(x)), x) for x in series]
        for series in _series(found, part)
      ]
    )
    for part in ("train", "test")
  )
  return _classes(MiniRocketClassifier(random_state=0, n_jobs=1), found, *parts)


def dtw(found: dict) -> dict:
  """Classes (n,) of the nearest series by dynamic time warping, in aeon."""
  from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier

  model = KNeighborsTimeSeriesClassifier(
    n_neighbors=1, distance="dtw", distance_params={"window": 0.1}, n_jobs=1
  )
  train, test = _series(found, "train"), _series(found, "test")
  return _classes(model, found, train, test)


def _streams(found, part):
  marks, times = found[f"{part}_marks"], found[f"{part}_times"]
  kinds = range(int(found["marks"]))
  return [
    [np.ascontiguousarray(t[:n][m[:n] == kind]) for kind in kinds]
    for t, m, n in zip(times, marks, found[f"{part}_lengths"])
  ]


def hawkes(found: dict) -> dict:
  """The nats of an event by a plain Hawkes process, fitted by SciPy.

  The rate of a kind is `base + sum weight exp(-decay (t - t_i))`, and all kinds
  share the decay.
  """
  from scipy import optimize

  marks, end = int(found["marks"]), float(found["end"])
  train, test = (_streams(found, part) for part in ("train", "test"))
  events = sum(len(times) for times, _ in train)
  start = np.log(events / marks / len(train) / end)
  first = np.r_[np.full(marks, start), np.full(marks**2, start - 2), -3.0]
  fitted = optimize.minimize(
    lambda x: _nats(x, train, marks, end),
    first,
    method="L-BFGS-B",
    options={"maxfun": 40 * len(first)},
  )
  return {"nll": _nats(fitted.x, test, marks, end)}


def _streams(found, part):
  return [
    (times[:length], marks[:length].astype(int))
    for times, marks, length in zip(
      *(found[f"{part}_{name}"] for name in ("times", "marks", "lengths"))
    )
  ]


def _nats(logarithms, streams, marks, end):
  """The negative log likelihood of an event; parameters are logarithms."""
  values = np.exp(np.clip(logarithms, -20, 5))
  base, decay = values[:marks], values[-1]
  weight = values[marks:-1].reshape(marks, marks)
  total, count = 0.0, 0
  for times, kinds in streams:
    # How much of each earlier event is left at each event.
    since = times[:, None] - times
    left = np.where(since > 0, np.exp(-decay * np.maximum(since, 0)), 0)
    rate = base[kinds] + (weight[kinds][:, kinds] * left).sum(axis=1)
    caused = (1 - np.exp(-decay * (end - times))) / decay
    total += base.sum() * end + (weight.sum(axis=0)[kinds] * caused).sum()
    total -= np.log(rate).sum()
    count += len(times)
  return total / count


def logistic(found: dict) -> dict:
  """Probabilities (n, classes) by scikit-learn, of the last three steps."""
  from sklearn import linear_model
  from sklearn import preprocessing

  encoder = preprocessing.OneHotEncoder(handle_unknown="ignore")
  model = linear_model.LogisticRegression(max_iter=500)
  model.fit(encoder.fit_transform(found["train_last"]), found["train_next"])
  told = model.predict_proba(encoder.transform(found["test_last"]))
  out = np.zeros((len(told), int(found["classes"])))
  out[:, model.classes_] = told
  return {"probability": out}


MODELS = {
  "AutoETS": auto_ets,
  "seasonal naive": seasonal_naive,
  "ALS": als,
  "EASE": ease,
  "MiniRocket": minirocket,
  "1-NN DTW": dtw,
  "Hawkes": hawkes,
  "logistic regression": logistic,
}


if __name__ == "__main__":
  name, source, target = sys.argv[1:]
  with np.load(source) as arrays:
    np.savez(target, **MODELS[name](dict(arrays)))
