"""Networks whose feed-forwards are computed from a file."""

import errno
import os
import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxseq
from jaxseq import generation
from jaxseq import nn
from jaxseq.interop import _row_file
from jaxseq.interop import _row_products
from jaxseq.interop import huggingface
from jaxseq.interop import network_file
from jaxseq.interop import row_predictors
from jaxseq.interop import safetensors_file
from jaxseq.interop import streamed
from jaxseq.nn import feedforward
from tests import limited

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
_PROMPT = np.array([[5, 8, 13], [7, 1, 3]])
# Sums of some hundred products in float32, in another order.
_FLOAT32 = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(autouse=True)
def _small_reads(monkeypatch):
  """Reads so small that feed-forwards have several."""
  monkeypatch.setattr(_row_products, "_READ", 2**11)
  monkeypatch.setattr(_row_products, "_MULTIPLIED", 2**10)


def _network(kind, bias=True, **fields):
  stack = nn.StackConfig(
    "elman",
    d_model=12,
    num_layers=2,
    norm="rms",
    feedforward=kind,
    feedforward_width=100,
    feedforward_options={"bias": bias},
    **fields,
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 20, 20)
  shapes = jax.eval_shape(network.init, jax.random.key(0), _PROMPT)
  rng = np.random.default_rng(0)

  def leaf(like):
    values = rng.normal(size=like.shape) / np.sqrt(like.shape[0])
    return jnp.asarray(values, like.dtype)

  return network, jax.tree.map(leaf, shapes)


def _sizes(variables):
  """Bytes of the feed-forwards' rows, and of all weights."""
  layers = variables["params"]["stack"].values()
  rows = sum(
    half["kernel"].nbytes
    for layer in layers
    if "feedforward" in layer
    for half in layer["feedforward"].values()
  )
  return rows, sum(leaf.nbytes for leaf in jax.tree.leaves(variables))


def _greedy(network, variables, length=12):
  arguments = network, variables, _PROMPT, length, jax.random.key(0)
  return np.asarray(generation.generate(*arguments, temperature=0.0)[0])


def test_activations_are_those_of_the_feed_forwards():
  x = np.linspace(-9, 9, 1001, dtype=np.float32)
  assert _row_products.ACTIVATIONS.keys() == feedforward.KINDS.keys()
  for kind, function in _row_products.ACTIVATIONS.items():
    expected = feedforward.KINDS[kind].activation(x)
    np.testing.assert_allclose(function(x), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
  ("kind", "bias"), [("swiglu", False), ("geglu", True), ("exact_gelu", True)]
)
def test_tokens_are_those_in_memory(tmp_path, kind, bias):
  network, variables = _network(kind, bias)
  path = tmp_path / "model.rows"
  streamed.save(path, network, variables)
  rows, total = _sizes(variables)
  expected = _greedy(network, variables)
  logits, _ = network.apply(variables, _PROMPT)
  for share in (1.0, 0.5):
    # Buffers count, too.
    memory = int(total - rows + share * rows) + (2**12 if share < 1 else 0)
    again, weights = streamed.load(path, memory)
    assert again == network
    np.testing.assert_array_equal(_greedy(again, weights), expected)
    ours, _ = again.apply(weights, _PROMPT)
    np.testing.assert_allclose(ours, logits, **_FLOAT32)
    for layer in streamed.layers(weights).values():
      read = layer.counts.rows_read / layer.counts.rows
      assert read == pytest.approx(1 - share, abs=0.05)
  # Read as a whole it is the network that was saved.
  again, weights = jaxseq.load(path)
  assert again == network
  jax.tree.map(np.testing.assert_array_equal, weights, variables)


@pytest.mark.parametrize("kind", ["relu", "relu2"])
def test_tokens_of_an_exact_predictor_are_those_in_memory(tmp_path, kind):
  network, variables = _network(kind)
  path = tmp_path / "model.rows"
  streamed.save(path, network, variables)
  expected = _greedy(network, variables)
  predictors = row_predictors.exact(streamed.load(path, "1MB")[1])
  least = _least(path, predictors)
  read = []
  # Room for all rows, for some, and for one: of the others none is lost.
  for room in (2**20, 5000, 200):
    _, weights = streamed.load(
      path, least + room, predictors=predictors, window=3
    )
    np.testing.assert_array_equal(_greedy(network, weights), expected)
    counts = [layer.counts for layer in streamed.layers(weights).values()]
    needed = sum(count.rows for count in counts)
    assert needed < 0.9 * sum(100 * count.calls for count in counts)
    read.append(sum(count.rows_read for count in counts) / needed)
  assert read[0] < read[1] < read[2] <= 1.01


def _least(path, predictors):
  with pytest.raises(ValueError, match="expected at least") as error:
    streamed.load(path, 1, predictors=predictors)
  return int(str(error.value).split("at least ")[1].split()[0])


@pytest.mark.parametrize("name", ["relu_w1", "relu_w4"])
def test_golden_outputs(tmp_path, name):
  with np.load(GOLDEN / f"flash_window/{name}.npz") as golden:
    golden = dict(golden)
  path = tmp_path / "rows"
  rows = np.concatenate([golden["up"], golden["down"]], axis=1)
  part = safetensors_file.Part(rows.dtype, rows.shape, lambda: rows)
  safetensors_file.write_parts(path, {"rows": part}, lambda digests: {})
  region = safetensors_file.regions(path)[0]["rows"]
  n = golden["up"].shape[1]
  exact = streamed.Predictor(np.eye(n), golden["up"].T)
  factors = golden["predictor_in"], golden["predictor_out"]
  low = streamed.Predictor(*factors, float(golden["threshold"]))
  for predictor, prefix in ((exact, ""), (low, "predicted_"), (None, "")):
    source = _row_products.Source(
      "relu", region, {"in": golden["bias"]}, predictor
    )
    memory = _row_products.least_memory([source]) + rows.nbytes
    file = _row_file.RowFile(path)
    (layer,) = _row_products.Store(
      file, [source], memory, int(golden["window"])
    ).layers
    for x, y in zip(golden["x"], golden[f"{prefix}output"]):
      np.testing.assert_allclose(layer._run(True, x), y, rtol=0, atol=1e-12)
    if predictor is not None:
      loads = golden[f"{prefix}loads"].sum()
      assert layer.counts.rows_read == loads
      assert layer.counts.bytes_read == loads * rows[0].nbytes


def test_predictors_are_fitted_and_read(tmp_path):
  network, variables = _network("relu")
  path, other = tmp_path / "model.rows", tmp_path / "model.predictors"
  streamed.save(path, network, variables)
  _, weights = streamed.load(path, "1MB")
  tokens = np.random.default_rng(1).integers(20, size=(8, 40))
  expected, _ = network.apply(variables, tokens)
  errors = {}
  for rank, steps in ((2, 0), (2, 9), (6, 0), (12, 0)):
    found = row_predictors.fit(
      network, weights, tokens, rank, steps=steps, learning_rate=1e-2
    )
    row_predictors.save(other, found)
    again = row_predictors.load(other)
    assert again.keys() == found.keys() == streamed.layers(weights).keys()
    _, predicted = streamed.load(path, "1MB", predictors=again)
    logits, _ = network.apply(predicted, tokens)
    errors[rank, steps] = np.square(logits - expected).mean()
  # Twelve is the rank of the weights: signs of numbers near 0 differ at most.
  assert errors[12, 0] < 1e-6 < errors[6, 0] < errors[2, 0]
  low = streamed.Predictor(np.zeros((12, 1)), np.zeros((1, 99)))
  place = "params/stack/layers_0/feedforward"
  with pytest.raises(ValueError, match="W_out: got shape"):
    streamed.load(path, "1MB", predictors={place: low})
  with pytest.raises(ValueError, match="predictors: got 'x'"):
    streamed.load(path, "1MB", predictors={"x": low})
  gelu, variables = _network("gelu")
  streamed.save(path, gelu, variables)
  _, weights = streamed.load(path, "1MB")
  with pytest.raises(ValueError, match="expected those of relu or relu2"):
    row_predictors.fit(gelu, weights, tokens, 2)


def test_training_tells_active_neurons_better():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2000, 12)).astype(np.float32)
  into = rng.normal(size=(12, 50)).astype(np.float32)
  bias = np.full(50, -2, np.float32)
  active = x @ into + bias > 0
  start = row_predictors._nearest(x, into, 3)
  arguments = start, 300, 1e-2, jax.random.key(0)
  shares = []
  for W_in, W_out in (start, row_predictors._train(x, into, bias, *arguments)):
    found = x @ np.asarray(W_in) @ np.asarray(W_out) + bias > 0
    shares.append(found[active].mean() + (~found)[~active].mean())
  assert shares[0] + 0.05 < shares[1]


def test_files_and_arguments_are_checked(tmp_path):
  network, variables = _network("relu")
  path = tmp_path / "model.rows"
  streamed.save(path, network, variables)
  whole = path.read_bytes()
  bad = tmp_path / "bad"
  for content, message in (
    (whole[:-1], "its header says"),
    (whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], "it was altered"),
    (b"a text that is none", "or is damaged"),
  ):
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=message):
      streamed.load(bad, "1MB")
  network_file.save(bad, network, variables)
  with pytest.raises(ValueError, match="is a network and no streamed"):
    streamed.load(bad, "1MB")
  for memory in ("2 cows", 0, -1, True, "0.1"):
    with pytest.raises(ValueError, match="memory: got"):
      streamed.load(path, memory)
  sizes = {"2GB": 2 * 10**9, "1.5GiB": 3 * 2**29, "7": 7, "2 MiB": 2**21}
  assert sizes == {text: streamed.parse_bytes("a", text) for text in sizes}
  weights = streamed.load(path, "1MB")[1]
  with pytest.raises(ValueError, match="train: got True"):
    network.apply(weights, _PROMPT, train=True)
  for kind, fields, message in (
    ("relu", {"scan_layers": True}, "scan_layers: got True"),
    ("none", {}, "feedforward: got 'none'"),
  ):
    other = nn.StackConfig("gru", d_model=8, feedforward=kind, **fields)
    with pytest.raises(ValueError, match=message):
      streamed.save(path, nn.SequenceModel(other), {"params": {}})


def test_a_pretrained_model_is_streamed(tmp_path):
  directory = GOLDEN / "hybrids/nemotron_h"
  config, variables = huggingface.load(directory)
  network = huggingface.make_network(config, variables)
  path = tmp_path / "model.rows"
  options = {"stream_to": path, "memory": "10MB"}
  expected, _ = network.apply(variables, _PROMPT)
  for _ in range(2):
    again, weights = huggingface.load(directory, **options)
    assert again == config
    logits, _ = network.apply(weights, _PROMPT)
    np.testing.assert_allclose(logits, expected, **_FLOAT32)
  with pytest.raises(ValueError, match="a file of another model or of other"):
    huggingface.load(directory, param_dtype="bfloat16", **options)
  with pytest.raises(ValueError, match="memory: got None"):
    huggingface.load(directory, stream_to=path)
  with pytest.raises(ValueError, match="memory: got '1MB', expected None"):
    huggingface.load(directory, memory="1MB")
  other = tmp_path / "other.rows"
  with pytest.raises(ValueError, match="memory: got '2 bananas', expected"):
    huggingface.load(directory, stream_to=other, memory="2 bananas")
  assert not other.exists()
  with pytest.raises(ValueError, match="scan_layers: got True"):
    huggingface.load(directory, scan_layers=True, **options)


def test_a_full_disk_is_told_with_the_file_and_a_remedy(tmp_path, monkeypatch):
  def fsync(unused):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "fsync", fsync)
  path = tmp_path / "model.rows"
  with pytest.raises(OSError, match="No space.*; stream_to needs") as caught:
    huggingface.load(
      GOLDEN / "hybrids/nemotron_h", stream_to=path, memory="10MB"
    )
  assert caught.value.filename == str(path)
  assert not list(tmp_path.iterdir())


def test_bfloat16_weights(tmp_path):
  network, variables = _network("swiglu")
  variables = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables)
  path = tmp_path / "model.rows"
  streamed.save(path, network, variables)
  rows, total = _sizes(variables)
  _, weights = streamed.load(path, total - rows // 2)
  expected, _ = network.apply(variables, _PROMPT)
  logits, _ = network.apply(weights, _PROMPT)
  np.testing.assert_allclose(logits, expected, **_FLOAT32)


def test_programs_at_the_same_time(tmp_path):
  network, variables = _network("gelu")
  path = tmp_path / "model.rows"
  streamed.save(path, network, variables)
  rows, total = _sizes(variables)
  _, weights = streamed.load(path, total - rows // 2)
  expected = _greedy(network, variables)
  results = []
  threads = [
    threading.Thread(target=lambda: results.append(_greedy(network, weights)))
    for _ in range(3)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(timeout=60)
  assert len(results) == 3
  for tokens in results:
    np.testing.assert_array_equal(tokens, expected)


_CHILD = """
import pathlib, re, resource, sys
import jax, numpy as np
from jaxseq import generation
from jaxseq.interop import streamed

def status(name):
  text = pathlib.Path("/proc/self/status").read_text()
  return 1024 * int(re.search(name + r":\\s*(\\d+)", text)[1])

def run(path, memory):
  network, variables = streamed.load(path, memory)
  generation.generate(
    network, variables, np.array([[1, 2]]), 3, jax.random.key(0)
  )

# Threads and programs are there before the limit is.
run("SMALL", "1MB")
limit = status("VmSize") + 120 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = status("VmRSS")
run("LARGE", "64MiB")
print((status("VmHWM") - before) // 2**20)
try:
  run("LARGE", "300MiB")
except MemoryError:
  print("there is a limit")
"""


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
  """Weights of 256 MiB, in an address space with room for less than half."""
  network, variables = _network("gelu")
  small, large = tmp_path / "small", tmp_path / "large"
  streamed.save(small, network, variables)
  stack = nn.StackConfig(
    "elman", d_model=512, feedforward="swiglu", feedforward_width=21846
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 8, 8)
  shapes = jax.eval_shape(network.init, jax.random.key(0), _PROMPT)
  weights = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype), shapes)
  streamed.save(large, network, weights)
  assert large.stat().st_size > 256 * 2**20
  code = _CHILD.replace("SMALL", str(small)).replace("LARGE", str(large))
  peak, said = limited.run(code, seconds=100).splitlines()
  assert said == "there is a limit"
  # 64 MiB of weights, and what NumPy and JAX need besides.
  assert int(peak) < 100
