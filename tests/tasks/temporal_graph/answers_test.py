"""Answers of a model of a graph: its memory goes on with a file of events."""

import dataclasses

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import data
from jaxseq import models
from jaxseq import nn
from jaxseq.data import event_graphs
from jaxseq.data.sources import graphs
from jaxseq.tasks import temporal_graph
from jaxseq.tasks.temporal_graph import answers as graph_answers
from jaxseq.tasks.temporal_graph import graph_options
from jaxseq.tasks.temporal_graph import network as graph_network
from tests import drawn

VECTORS = {
  "message": "vectors",
  "target": "vectors",
  "score": "dot",
  "time_width": 2,
}
TRAINED, EVENTS, DAY = 22, 40, 86400.0


def table():
  """Sources, destinations, times and features of all events."""
  rng = np.random.default_rng(0)
  nodes = rng.integers(0, 6, (EVENTS, 2))
  nodes[:6] = np.arange(6)[:, None]
  days = np.cumsum(rng.integers(0, 3, EVENTS)) * DAY
  return nodes, days, rng.random((EVENTS, 1)).astype(np.float32)


def splits(end, sizes, features=False):
  """The first events, with all other destinations as candidates."""
  nodes, days, more = table()
  part = np.repeat(np.arange(3), sizes)
  every = np.arange(1, 7)
  others = [
    np.array([every[every != node + 1] for node in nodes[:end][part == n, 1]])
    for n in (1, 2)
  ]
  return event_graphs.make_splits(
    nodes[:end] + 1,
    days[:end],
    part,
    "here",
    6,
    more[:end] if features else None,
    others,
    source=graphs.GraphSource(
      nodes=tuple("abcdef"), features=("size",) if features else None
    ).between(days[:end].astype("datetime64[s]").astype("datetime64[us]")),
  )


def case(mixer="gru", features=False, batch_size=2, **options):
  """A problem of all events, and a model that has seen the first 30."""
  stack = nn.StackConfig(mixer, d_model=6, num_layers=1)
  arm = temporal_graph.ArmConfig(
    nn.NetworkConfig(stack),
    batch_size=batch_size,
    graph=graph_network.Options(**options),
    loss="full" if options.get("target") == "vectors" else "bce",
  )
  problem = temporal_graph.Problem(
    arm, splits(EVENTS, (TRAINED, 8, 10), features)
  )
  variables = drawn.variables(problem)
  seen = splits(30, (TRAINED, 4, 4), features)
  model = models.make("temporal_graph", problem.network, variables, seen)
  source = dataclasses.replace(model.preparation, reader="graph_table")
  return problem, variables, dataclasses.replace(model, preparation=source)


def later(path, features=False, change=lambda rows: rows):
  """A file of the events that come later."""
  nodes, days, more = table()
  rows = [
    ["abcdef"[a], "abcdef"[b], str(np.datetime64(int(t), "s")), str(x)]
    for (a, b), t, (x,) in zip(nodes[30:], days[30:], more[30:])
  ]
  names = "source,destination,time,size"
  lines = [names, *(",".join(row) for row in change(rows))]
  if not features:
    lines = [line.rpartition(",")[0] for line in lines]
  path.write_text("\n".join(lines) + "\n")
  return path


@pytest.mark.parametrize(
  ("features", "options"),
  [
    (False, {**VECTORS, "run": "exact"}),
    (False, {**VECTORS, "run": "exact", "repeats": 3}),
    pytest.param(
      False, {**VECTORS, "mixer": "s5"}, marks=pytest.mark.slow, id="waiting"
    ),
    pytest.param(
      True,
      {"embedding": "attention", "neighbors": 2, "time_width": 2},
      marks=pytest.mark.slow,
      id="attention",
    ),
    pytest.param(
      False,
      {"message": "embeddings", "neighbors": 2, "time_width": 2},
      marks=pytest.mark.slow,
      id="dyrep",
    ),
  ],
)
def test_a_file_of_later_events_is_ranked_as_in_evaluation(
  tmp_path, features, options
):
  problem, variables, model = case(features=features, **options)
  metrics = jax.jit(problem.evaluate)(variables, problem.data)
  jaxseq.save(tmp_path / "m.safetensors", model)
  model = jaxseq.load(tmp_path / "m.safetensors")
  found = model.predict(later(tmp_path / "later.csv", features))
  place = found.arrays["place"]
  assert (1 / place).mean() == pytest.approx(float(metrics["mrr"]), rel=1e-5)
  happened = found["happened"]
  assert happened.sum() == len(place) == 10
  np.testing.assert_array_equal(found["rank"][happened], place)
  nodes, _, _ = table()
  assert list(found["destination"][happened]) == [
    "abcdef"[b] for b in nodes[30:, 1]
  ]
  # Asked at once, the first one is as after all that was seen.
  first = model.outputs(
    data.take(
      model.examples(later(tmp_path / "later.csv", features)).dataset,
      slice(0, 1),
    )
  )
  np.testing.assert_array_equal(
    first["destination"], found.arrays["destination"][:1]
  )
  np.testing.assert_allclose(
    first["score"], found.arrays["score"][:1], rtol=1e-4, atol=1e-5
  )


@pytest.mark.slow
def test_nodes_that_were_no_destination_are_not_ranked(tmp_path):
  _, variables, model = case(run="exact", **VECTORS)
  seen = splits(30, (TRAINED, 4, 4))
  # What went to "c" goes to "d".
  parts = [one._replace(inputs=one.inputs.copy()) for one in seen[:3]]
  for one in parts:
    one.inputs[one.inputs[:, 1] == 3, 1] = 4
  splits_without = data.Splits(*parts, seen.info)
  made = models.make("temporal_graph", model.network, variables, splits_without)
  assert made.variables["destinations"].tolist() == [
    name != "c" for name in "abcdef"
  ]
  jaxseq.save(
    tmp_path / "m", dataclasses.replace(made, preparation=model.preparation)
  )
  found = jaxseq.load(tmp_path / "m").predict(later(tmp_path / "later.csv"))
  assert set(found["destination"]) == set("abdef")
  nodes, _, _ = table()
  place = found.arrays["place"]
  np.testing.assert_array_equal(place == 0, nodes[30:, 1] == 2)
  assert found["rank"].tolist() == [1, 2, 3, 4, 5] * 10
  assert found["happened"].sum() == (place > 0).sum()


@pytest.mark.slow
def test_questions_leave_no_trace_and_newcomers_are_read(tmp_path):
  _, _, model = case(run="exact", **VECTORS)

  def asked(rows):
    # After five events, a question about the source of the next one.
    question = [rows[5][0], "", rows[5][2], ""]
    return [*rows[:5], question, *rows[5:]]

  plain = model.predict(later(tmp_path / "plain.csv"))
  found = model.predict(later(tmp_path / "asked.csv", change=asked))
  rows = [*range(5), *range(6, 11)]
  for name in ("destination", "score", "place"):
    np.testing.assert_allclose(
      found.arrays[name][rows], plain.arrays[name], rtol=1e-5, atol=1e-6
    )
  np.testing.assert_allclose(
    found.arrays["score"][5], plain.arrays["score"][5], rtol=1e-5
  )
  assert found.arrays["place"][5] == 0

  def renamed(rows):
    return [["new" if x == "a" else x for x in row] for row in rows]

  fresh = model.predict(later(tmp_path / "new.csv", change=renamed))
  assert "new" not in set(fresh["destination"])
  nodes, _, _ = table()
  np.testing.assert_array_equal(fresh.arrays["place"] == 0, nodes[30:, 1] == 0)
  assert np.isfinite(fresh["score"]).all()


def test_receivers_without_a_rank_are_told(tmp_path, caplog):
  _, _, model = case(run="exact", **VECTORS)
  path = later(tmp_path / "a.csv", change=lambda rows: rows[:3])
  model.predict(path)
  assert not caplog.text
  path = later(
    tmp_path / "b.csv",
    change=lambda rows: [[rows[0][0], "new", *rows[0][2:]], *rows[1:3]],
  )
  found = model.predict(path)
  assert found["happened"].sum() == 2
  assert (
    "b.csv, line 2: got a node that no event of the training has (in 1"
    in (caplog.text)
  )
  assert "1 of 3 events go to a node that no event of the training went" in (
    caplog.text
  )


def test_what_does_not_follow_the_training_is_refused(tmp_path):
  _, _, model = case(run="exact", **VECTORS)

  def early(rows):
    return [[*row[:2], "1970-01-01", row[3]] for row in rows]

  with pytest.raises(ValueError, match="time: got .*1970.* or later: the trai"):
    model.predict(later(tmp_path / "early.csv", change=early))
  path = tmp_path / "numbers.csv"
  path.write_text("source,time\na,3\n")
  with pytest.raises(
    ValueError, match="'time': got a number, '3', expected a d"
  ):
    model.predict(path)
  path.write_text("source,time\n,2030-01-01\n")
  with pytest.raises(ValueError, match="line 2.*'source'.*name of a node"):
    model.predict(path)
  for row, times, message in (
    (["a", ""], ["2031-01-01", "2030-01-01"], "row 1: time: got .* order of"),
    ([None, ""], ["2030-01-01"], "row 0: source: got None, expected the name"),
  ):
    stamps = np.array(times, "datetime64[s]")
    with pytest.raises(ValueError, match=message):
      model.preparation.prepare([row] * len(times), times=stamps)
  path.write_text("source,time\na,2030-01-01\n")
  assert "happened" not in model.predict(path)


@pytest.mark.parametrize("embedding", ["time", "attention"])
def test_questions_see_the_seconds_since_the_training(embedding):
  _, _, model = case(embedding=embedding, neighbors=2, time_width=2)
  asked = ([["a", None]] * 3, np.array([1.0, 3.0, 60.0]))
  end = np.datetime64(model.preparation.last)

  def scores(model, shift):
    seconds = ((asked[1] + shift) * 1e6).astype("timedelta64[us]")
    part = model.preparation.prepare(asked[0], times=end + seconds)
    return model.outputs(part)["score"]

  years = 4 * 365 * DAY + 0.375
  stored = dict(model.variables)
  # As if the training had been years later than its first event.
  memory = dict(stored["memory"])
  network = model.network
  held = graph_answers._memory(network, stored)
  moved = {
    name: getattr(held, name).astype(np.float64)
    + getattr(held, f"{name}_rest")
    + years
    for name in ("time", "since")
  }
  late = held._replace(
    **{
      name: half
      for key, time in moved.items()
      for name, half in zip((key, f"{key}_rest"), graph_options.halves(time))
    }
  )
  stored["memory"] = memory | graph_answers._flat(late)
  if "past" in stored:
    time = stored["past"]["time"] + years
    rest = graph_options.halves(time)[1]
    stored["past"] = {**stored["past"], "time": time, "rest": rest}
  later = dataclasses.replace(model, variables=stored)
  np.testing.assert_allclose(
    scores(later, years), scores(model, 0.0), rtol=1e-4, atol=1e-5
  )


def test_older_files_are_read():
  """They have times in float32 alone, and so have questions to them."""
  _, _, model = case(embedding="attention", neighbors=2, time_width=2)
  part = model.preparation.prepare(
    [["a", None]], times=[np.datetime64(model.preparation.last)]
  )
  wanted = model.outputs(part)["score"]
  variables = {
    name: {k: x for k, x in model.variables[name].items() if "rest" not in k}
    for name in ("memory", "past")
  }
  arguments = {k: x for k, x in model.signature.items() if k != "time_rest"}
  old = dataclasses.replace(
    model,
    network=model.network.clone(halved=False),
    variables={**model.variables, **variables},
    signature=arguments,
  )
  # Whole days are float32.
  np.testing.assert_array_equal(old.outputs(part)["score"], wanted)
