"""What other libraries reach on the same parts of the same files.

Each runs in a process of its own, on one core, with a Python that has it:

    python -m venv DIR
    DIR/bin/pip install statsforecast implicit aeon
    python -m benchmarks.own_files --peers=DIR/bin/python --arms=gru
"""

from collections.abc import Callable
from collections.abc import Mapping
import os
import pathlib
import resource
import subprocess
from typing import Any
from typing import NamedTuple

import numpy as np

from jaxseq import data
from jaxseq.nn import masks
from jaxseq.tasks import forecasting
from jaxseq.tasks import ranking
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.language import suffix_models

_SCRIPT = pathlib.Path(__file__).with_name("peers_own.py")
ONE_CORE = ("nice", "-n", "10", "taskset", "-c", "0")
Arrays = Mapping[str, Any]


class Peers(NamedTuple):
  """Models beside a file, and how they are scored.

  Attributes:
    loader: of the file, by its name.
    options: of the loader.
    names: of the script's models.
    arrays: splits -> what the script reads.
    score: (splits, arrays, what the script wrote) -> the metric.
  """

  loader: str
  options: Mapping[str, Any]
  names: tuple[str, ...]
  arrays: Callable[[data.Splits], Arrays]
  score: Callable[[data.Splits, Arrays, Arrays], float]


def _spans(splits):
  spans = forecasting.spans(splits)
  length = spans.input_length
  test = spans.test
  parts = [spans.train]
  if spans.valid is not None:
    parts.append(spans.valid[length:])
  before = sum(map(len, parts))
  past = np.concatenate([*parts, test[length:]])
  # Of every week one day: each origin takes moments.
  origins = np.arange(before, len(past) - spans.horizon + 1, 7)
  return {
    "train": spans.train,
    "past": past,
    "origins": origins,
    "horizon": spans.horizon,
    "period": 7,
  }


def _mae(splits, arrays, found):
  del splits
  steps = np.arange(int(arrays["horizon"]))
  truth = arrays["past"][arrays["origins"][:, None] + steps]
  return float(np.abs(found["forecast"] - truth).mean())


def _interactions(splits):
  test = splits.test
  count = splits.info.vocab_size - 1
  return {"items": test.inputs, "lengths": test.lengths, "count": count}


def _ndcg(splits, arrays, found):
  inside = masks.inside(arrays["items"].shape[1], arrays["lengths"])
  users = np.repeat(np.arange(len(inside)), arrays["lengths"])
  allowed = np.ones(found["scores"].shape, bool)
  allowed[users, arrays["items"][np.asarray(inside)] - 1] = False
  target = splits.test.targets.max(axis=1) - 1
  place = ranking.ranks(found["scores"], target, allowed)
  return float(ranking.ndcg(place, 10).mean())


def _series(splits):
  return {
    f"{part}_{name}": getattr(getattr(splits, part), name)
    for part in ("train", "test")
    for name in ("inputs", "targets", "lengths")
  }


def _accuracy(splits, arrays, found):
  del arrays
  return float((found["classes"] == splits.test.targets).mean())


def _events(splits):
  found = {"end": splits.info.horizon, "marks": splits.info.num_classes}
  for part in ("train", "valid", "test"):
    arrays = event_sequences.sequences(getattr(splits, part))
    for name in ("times", "marks", "lengths"):
      found[f"{part}_{name}"] = np.asarray(getattr(arrays, name))
  return found


def _nats(splits, arrays, found):
  del splits, arrays
  return float(found["nll"])


def _last_steps(splits):
  found = {"classes": splits.info.vocab_size - 1}
  for part in ("train", "test"):
    wanted = getattr(splits, part)
    inside = np.asarray(masks.inside(wanted.inputs.shape[1], wanted.lengths))
    # Zero is no step: what lies before the first one.
    padded = np.pad(wanted.inputs + 1, ((0, 0), (2, 0)))
    last = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)
    found[f"{part}_last"] = last[inside]
    found[f"{part}_next"] = suffix_models.targets_of(wanted)
  return found


def _brier(splits, arrays, found):
  del splits
  told = found["probability"]
  return suffix_models.scores(told, arrays["test_next"])["brier"]


_SALES = {"time": "date", "missing": "refuse"}
_SALES |= {"input_length": 28, "horizon": 14}
_SENSORS = {"id": "run", "label": "state", "time": "t"}
_LOGINS = {"stream": "account", "time": "when", "mark": "event"}
_LOGINS |= {"unit": "minute"}
_TICKETS = {"case": "case", "activity": "activity", "time": "time"}
PEERS = {
  "sales": Peers(
    "forecast_table", _SALES, ("AutoETS", "seasonal naive"), _spans, _mae
  ),
  "orders": Peers(
    "interaction_table", {}, ("ALS", "EASE"), _interactions, _ndcg
  ),
  "sensors": Peers(
    "table", _SENSORS, ("MiniRocket", "1-NN DTW"), _series, _accuracy
  ),
  "logins": Peers("event_table", _LOGINS, ("Hawkes",), _events, _nats),
  "tickets": Peers(
    "event_log", _TICKETS, ("logistic regression",), _last_steps, _brier
  ),
}


def timed(command: list[str]) -> float:
  """Runs a command on one core; returns its seconds of CPU."""
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
  subprocess.run([*ONE_CORE, *command], check=True, env=env)
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  return sum(
    getattr(after, name) - getattr(before, name)
    for name in ("ru_utime", "ru_stime")
  )


def run(
  name: str, file: pathlib.Path, python: str, directory: pathlib.Path
) -> dict[str, tuple[float, float]]:
  """Returns the metric and the seconds of CPU of each peer of a file.

  Args:
    name: of the file, as in `PEERS`.
    file: its path; the parts are those that the network had.
    python: interpreter that has the libraries.
    directory: where arrays are written.
  """
  peers = PEERS[name]
  splits = data.load(peers.loader, path=str(file), **peers.options)
  arrays = peers.arrays(splits)
  source, target = directory / "parts.npz", directory / "told.npz"
  np.savez(source, **arrays)
  rows = {}
  for model in peers.names:
    seconds = timed([python, str(_SCRIPT), model, str(source), str(target)])
    with np.load(target) as found:
      rows[model] = peers.score(splits, arrays, found), seconds
  return rows
