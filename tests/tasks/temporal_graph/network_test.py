"""Memories of nodes: released networks, order inside batches, runs of nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.tasks.temporal_graph import answers as graph_answers
from jaxseq.tasks.temporal_graph import graph_neighbors
from jaxseq.tasks.temporal_graph import network as graph_network

BARE = {
  "norm": "none",
  "activation": "none",
  "residual": False,
  "num_layers": 1,
}
# Files of golden values, the width that messages need, and options.
RELEASED = {
  "tgn_attention_last": (22, "gru", {"embedding": "attention"}),
  "tgn_sum_mean_mlp": (
    8,
    "gru",
    {"embedding": "sum", "aggregate": "mean", "function": "mlp"},
  ),
  "jodie_time_rnn": (21, "elman", {"embedding": "time"}),
}


def dense(weight, bias, rows, columns, shape):
  """A layer of torch in the corner of a wider one, that is 0 elsewhere."""
  kernel = np.zeros(shape, np.float32)
  kernel[np.ix_(rows, columns)] = weight.T
  wide = np.zeros(shape[1], np.float32)
  wide[columns] = bias
  return {"kernel": kernel, "bias": wide}


def parameters(known, variables, d, kind):
  """The released parameters, for a network of the width d."""
  p = {k[6:]: v for k, v in known.items() if k.startswith("param/")}
  m, de = 6, known["edge_features"].shape[1]
  params = jax.tree.map(np.zeros_like, variables["params"])
  params["frequency"] = p["time_encoder.w.weight"][:, 0]
  params["phase"] = p["time_encoder.w.bias"]
  state, phi = np.arange(m), np.arange(m)
  raw = [*state, *(d + state), *(2 * d + np.arange(de + m))]
  if "message_function.mlp.0.weight" in p:
    wide = params["hidden"]["kernel"].shape
    first, last = (
      (
        p[f"message_function.mlp.{n}.weight"],
        p[f"message_function.mlp.{n}.bias"],
      )
      for n in (0, 2)
    )
    params["hidden"] = dense(*first, raw, np.arange(10), wide)
    shape = params["encoder"]["kernel"].shape
    params["encoder"] = dense(*last, np.arange(10), np.arange(8), shape)
    width = 8
  else:
    width = len(raw)
    shape = params["encoder"]["kernel"].shape
    eye = np.eye(width, dtype=np.float32)
    params["encoder"] = dense(eye, 0, raw, np.arange(width), shape)
  cell = params["stack"]["layers_0"]["mixer"]
  name = "memory_updater.memory_updater"
  gates = 1 if kind == "elman" else 3
  w, r = (p[f"{name}.weight_{s}"].reshape(gates, m, -1) for s in ("ih", "hh"))
  bi, bh = (p[f"{name}.bias_{s}"].reshape(gates, m) for s in ("ih", "hh"))
  cell["W"][:width, :, :m] = np.moveaxis(w, 2, 0)
  if kind == "elman":
    cell["R"][0, :m, :, :m] = np.moveaxis(r, 2, 0)
    cell["b"][:, :m] = bi + bh
  else:
    cell["R"][0, :m, :, :m] = np.moveaxis(r[[2, 0, 1]], 2, 0)
    cell["b"][:, :m] = bh[2], bi[0] + bh[0], bi[1] + bh[1], bi[2]
  if "vectors" in params:
    params["vectors"][:, :m] = known["node_features"]
  fc1, b1 = p["affinity_score.fc1.weight"], p["affinity_score.fc1.bias"]
  params["from_source"] = dense(fc1[:, :m], b1, state, state, (d, d))
  target = dense(fc1[:, m:], 0, state, state, (d, d))
  params["from_target"] = {"kernel": target["kernel"]}
  fc2, b2 = p["affinity_score.fc2.weight"], p["affinity_score.fc2.bias"]
  params["score"] = dense(fc2, b2, state, [0], (d, 1))

  def put(name, torch, rows, columns, scale=1.0, weight="weight", bias="bias"):
    shape = params[name]["kernel"].shape
    arrays = p[f"{torch}.{weight}"] * scale, p[f"{torch}.{bias}"] * scale
    params[name] = dense(*arrays, rows, columns, shape)

  if "neighbor" in params:
    module = "embedding_module.linear_"
    rows = [*state, *(d + np.arange(m + de))]
    put("neighbor", f"{module}1.0", rows, state)
    rows = [*state, *(d + state), *(2 * d + phi)]
    put("joined", f"{module}2.0", rows, state)
  elif "query" in params:
    module = "embedding_module.attention_models.0"
    target = f"{module}.multi_head_target"
    inside = (d + m) // 2
    columns = [*np.arange(m), *(inside + np.arange(m))]
    biases = np.split(p[f"{target}.in_proj_bias"], 3)
    keys = [*state, *(d + np.arange(de + m))]
    for part, bias, rows, scale in zip(
      ("query", "key", "value"),
      biases,
      ([*state, *(d + phi)], keys, keys),
      (np.sqrt(inside / m), 1, 1),
    ):
      weight = p[f"{target}.{part[0]}_proj_weight"] * scale
      shape = params[part]["kernel"].shape
      params[part] = dense(weight, bias * scale, rows, columns, shape)
    put("attended", f"{target}.out_proj", columns, np.arange(2 * m))
    rows = [*np.arange(2 * m), *(d + m + state)]
    put("merged", f"{module}.merger.fc1", rows, state)
    put("joined", f"{module}.merger.fc2", state, state)
  else:
    put("projection", "embedding_module.embedding_layer", [0], state)
  return {"params": params}


def released(known, d, kind, options):
  """The network, its variables, batches and neighbors of a golden file."""
  source, destination, time = (
    known[key] for key in ("source", "destination", "time")
  )
  nodes = np.stack([source, destination], axis=1)
  count = len(known["node_features"])
  features = known["edge_features"][1:]
  config = nn.NetworkConfig(nn.StackConfig(kind, d_model=d, **BARE))
  network = graph_network.GraphNetwork(
    config,
    graph_network.Options(
      time_width=6, neighbors=3, vectors=True, released=True, **options
    ),
    count,
    int(destination.min()),
    int(destination.max()),
    features.shape[1],
    tuple(
      float(known[k]) for k in ("mean_src", "std_src", "mean_dst", "std_dst")
    ),
  )
  graph = jax.tree.map(
    jnp.asarray, graph_neighbors.index(nodes, time, features, count)
  )
  events = graph_network.Events(
    source.astype(np.int32),
    destination.astype(np.int32),
    time.astype(np.float32),
    np.searchsorted(time, time).astype(np.int32),
    features,
    np.ones(len(time), bool),
  )
  size = int(known["batch_size"])
  candidates = np.stack([destination, known["negative"]], axis=1)
  batches = [
    (
      jax.tree.map(lambda x, n=n: x[n : n + size], events),
      candidates[n : n + size],
    )
    for n in range(0, len(time), size)
  ]
  epoch = jnp.zeros((), jnp.int32)
  shapes = jax.eval_shape(
    network.init,
    jax.random.key(0),
    network.memory(),
    batches[0][0],
    epoch,
    batches[0][1],
    graph,
  )
  variables = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
  return network, parameters(known, variables, d, kind), batches, graph


def bce(scores):
  return (jax.nn.softplus(-scores[:, 0]) + jax.nn.softplus(scores[:, 1])).mean()


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.slow) if name[:3] == "tgn" else name
    for name in RELEASED
  ],
)
def test_released_networks_are_reproduced(golden, name):
  known = golden(f"temporal_graph/{name}")
  d, kind, options = RELEASED[name]
  network, variables, batches, graph = released(known, d, kind, options)
  epoch, memory = jnp.zeros((), jnp.int32), network.memory()

  def loss(variables, memory, events, candidates):
    outputs = network.apply(variables, memory, events, epoch, candidates, graph)
    return bce(outputs.scores), outputs

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  # The released values are float32.
  close = {"rtol": 2e-5, "atol": 2e-6}
  for number, (events, candidates) in enumerate(batches):
    of = {k[3:]: v for k, v in known.items() if k.startswith(f"b{number}/")}
    three = np.concatenate([events.source, *candidates.T])
    found = graph_neighbors.recent(graph, three, np.tile(events.before, 3), 3)
    np.testing.assert_array_equal(found.node, of["neighbors"])
    np.testing.assert_array_equal(found.time, of["neighbor_times"])
    edges = np.where(found.node > 0, found.event + 1, 0)
    np.testing.assert_array_equal(edges, of["neighbor_edges"])
    (value, outputs), grads = step(variables, memory, events, candidates)
    memory = outputs.memory
    chances = np.concatenate([of["prob_pos"], of["prob_neg"]], axis=1)
    np.testing.assert_allclose(jax.nn.sigmoid(outputs.scores), chances, **close)
    np.testing.assert_allclose(value, of["loss"], **close)
    np.testing.assert_allclose(memory.states[1][:, :6], of["memory"], **close)
    np.testing.assert_array_equal(memory.states[1][:, 6:], 0)
    np.testing.assert_array_equal(memory.time, of["last_update"])
    np.testing.assert_array_equal(memory.waiting, of["stored_messages"] > 0)
  g = {k[10:]: v for k, v in known.items() if k.startswith("grad_last/")}
  cell, close = (
    grads["params"]["stack"]["layers_0"]["mixer"],
    {
      "rtol": 1e-4,
      "atol": 2e-6,
    },
  )
  name, gates = "memory_updater.memory_updater", 1 if kind == "elman" else 3
  w = np.moveaxis(g[f"{name}.weight_ih"].reshape(gates, 6, -1), 2, 0)
  np.testing.assert_allclose(cell["W"][: len(w), :, :6], w, **close)
  r = g[f"{name}.weight_hh"].reshape(gates, 6, 6)
  r = r if gates == 1 else r[[2, 0, 1]]
  np.testing.assert_allclose(
    cell["R"][0, :6, :, :6], np.moveaxis(r, 2, 0), **close
  )
  params = grads["params"]
  np.testing.assert_allclose(
    params["from_source"]["kernel"][:6, :6],
    g["affinity_score.fc1.weight"][:, :6].T,
    **close,
  )
  if "time_encoder.w.bias" in g:
    np.testing.assert_allclose(
      params["phase"], g["time_encoder.w.bias"], **close
    )
  if "neighbor" in params:
    np.testing.assert_allclose(
      params["neighbor"]["kernel"][:6, :6],
      g["embedding_module.linear_1.0.weight"][:, :6].T,
      **close,
    )
  elif "query" in params:
    module = "embedding_module.attention_models.0.multi_head_target"
    columns = [*range(6), *range(14, 20)]
    for part, scale in (("query", np.sqrt(14 / 6)), ("value", 1)):
      np.testing.assert_allclose(
        params[part]["kernel"][:6, columns] * scale,
        g[f"{module}.{part[0]}_proj_weight"][:, :6].T,
        **close,
      )
  else:
    np.testing.assert_allclose(
      params["projection"]["kernel"][:, :6],
      g["embedding_module.embedding_layer.weight"].T,
      **close,
    )


BY_VECTORS = {"message": "vectors", "target": "vectors"}
# Four years and a bit, at which float32 steps over 8 seconds.
LATE = 4 * 365 * 86_400 + 0.375


@pytest.mark.parametrize(
  "options",
  [
    {"embedding": "time"},
    {"pres": True},
    {"embedding": "sum", "neighbors": 2},
    {"embedding": "attention", "neighbors": 2},
    {**BY_VECTORS, "embedding": "time", "run": "exact"},
  ],
  ids=["time", "pres", "sum", "attention", "exact"],
)
def test_gaps_of_seconds_are_read_years_after_the_first_event(options):
  rng = np.random.default_rng(0)
  nodes = rng.integers(1, 6, (16, 2)).astype(np.int32)
  time = np.cumsum(rng.integers(1, 20, 16)) + 0.25
  network = graph_network.GraphNetwork(
    nn.NetworkConfig(nn.StackConfig("gru", d_model=8, **BARE)),
    graph_network.Options(time_width=3, **options),
    num_nodes=6,
    first=1,
    last=5,
  )

  def batches(time):
    events = graph_answers.events_of(nodes, time, None)
    return jax.tree.map(lambda x: x.reshape(4, 4, *x.shape[1:]), events)

  candidates = np.tile(np.arange(1, 6), (4, 1))

  def inputs(time, memory, events):
    graph = None
    if network.options.reads_graph:
      graph = jax.tree.map(
        jnp.asarray, graph_neighbors.index(nodes, time, None, 6)
      )
    return memory, events, jnp.int32(0), candidates, graph

  first = jax.tree.map(lambda x: x[0], batches(time))
  shapes = jax.eval_shape(
    network.init, jax.random.key(0), *inputs(time, network.memory(), first)
  )
  variables = jax.tree.map(
    lambda x: jnp.asarray(0.5 * rng.normal(size=x.shape), x.dtype), shapes
  )

  @jax.jit
  def scores(batches, graph):
    def step(memory, events):
      arguments = (*inputs(time, memory, events)[:-1], graph)
      outputs = network.apply(variables, *arguments)
      return outputs.memory, outputs.scores

    return jax.lax.scan(step, network.memory(), batches)[1]

  early, late = (
    scores(batches(when), inputs(when, None, None)[-1])
    for when in (time, time + LATE)
  )
  np.testing.assert_allclose(late, early, rtol=1e-4, atol=1e-5)
  assert np.ptp(early) > 0.1
