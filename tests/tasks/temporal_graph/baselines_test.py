"""Floors of temporal graphs: reference values, the protocol, and their time."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import data
from jaxseq.data import event_graphs
from jaxseq.tasks import ranking
from jaxseq.tasks.temporal_graph import baselines as graph_baselines


def reference(known):
  first, batch = int(known["first"]), int(known["batch"])
  count = len(known["source"]) - first
  return graph_baselines.Stream(
    known["source"],
    known["destination"],
    known["time"],
    first,
    first + np.arange(count) // batch * batch,
    known["query_destination"],
  )


def test_floors_are_those_of_the_reference(golden):
  known = golden("temporal_graph/temporal_baselines")
  events = reference(known)
  scores = {
    "poptrack": graph_baselines.pop_track(events),
    "t_comem": graph_baselines.t_comem(events, int(known["t_comem_k"])),
  }
  for name, values in scores.items():
    np.testing.assert_allclose(values, known[name], rtol=1e-12, err_msg=name)
    mrr = graph_baselines.metrics(values)["mrr"]
    np.testing.assert_allclose(mrr, known[f"{name}_mrr"], rtol=1e-6)
  # Candidates differ, which they do not in the released code.
  assert np.ptp(scores["t_comem"], axis=1).max() > 0.3


def test_ranks_are_those_of_the_protocol(golden):
  known = golden("temporal_graph/mrr_protocol")
  for name in ("tied", "float"):
    scores = np.concatenate(
      [known[f"{name}_pos"][:, None], known[f"{name}_neg"]], axis=1
    )
    place = ranking.ranks(jnp.asarray(scores), jnp.zeros(len(scores), int))
    np.testing.assert_allclose(
      ranking.reciprocal_rank(place), known[f"{name}_rr"], rtol=1e-6
    )
  constant = graph_baselines.metrics(np.zeros((3, 101)))["mrr"]
  np.testing.assert_allclose([constant, known["const_mrr"]], 1 / 51, rtol=1e-6)
  # Of the released evaluator this is 1.
  lost = np.zeros((1, 101))
  lost[0, 0] = np.nan
  assert graph_baselines.metrics(lost)["mrr"] == pytest.approx(1 / 101)
  # The last destination can be drawn, which the released sampler leaves out.
  assert known["max_negative_drawn"] == known["last_dst"] - 1
  own = np.full((500, 1), 4)
  drawn = event_graphs.draw(np.random.default_rng(0), own, np.arange(3, 7), 4)
  assert set(np.unique(drawn)) == {3, 5, 6}


def test_counts_are_those_of_loops():
  rng = np.random.default_rng(0)
  splits = event_graphs.of_events(
    rng.integers(0, 6, 90).astype(str),
    rng.integers(0, 6, 90).astype(str),
    np.arange(90.0),
    "here",
    candidates=3,
  )
  events = graph_baselines.stream(splits, "test", 4)
  scores = {
    "edge": graph_baselines.edge_bank(events),
    "popular": graph_baselines.streaming_popular(events),
    "together": graph_baselines.together(events, recent=2),
  }
  pairs = list(zip(events.source.tolist(), events.destination.tolist()))
  for row, (source, known) in enumerate(zip(events.asked, events.known)):
    before = pairs[:known]
    joint, recent = {}, {}
    for u, v in before:
      for w in recent.get(u, [])[-2:]:
        for key in ((v, w), (w, v)):
          joint[key] = joint.get(key, 0) + 1
      recent.setdefault(u, []).append(v)
    for column, one in enumerate(events.candidates[row].tolist()):
      assert scores["edge"][row, column] == ((source, one) in before)
      count = sum(v == one for _, v in before)
      assert scores["popular"][row, column] == count
      value = sum(joint.get((w, one), 0) for w in recent.get(source, [])[-2:])
      assert int(scores["together"][row, column]) == value


def test_neighbors_alone_do_not_tell_followers_apart():
  splits = data.load("followers", pairs=40)
  rows = graph_baselines.floors(splits, "test", 1)
  # What all users did is the same for both candidates.
  assert rows["most popular, streaming"]["mrr"] < 0.8
  assert rows["co-occurrence"]["mrr"] > 0.95


@pytest.mark.slow
def test_a_million_events_take_a_minute():
  rng = np.random.default_rng(0)
  nodes = rng.integers(0, [50_000, 20_000], (1_000_000, 2))
  splits = event_graphs.of_events(
    nodes[:, 0], nodes[:, 1], np.arange(1e6), "here", bipartite=True
  )
  begin = time.process_time()
  events = graph_baselines.stream(splits, "test", 200)
  graph_baselines.pop_track(events)
  graph_baselines.t_comem(events)
  assert time.process_time() - begin < 60
