"""Steps of networks as programs, run where jaxseq cannot be imported."""

import json
import os

import numpy as np
import pytest

from jaxseq import mixers
from jaxseq import nn
from jaxseq.adapt import quantized
from jaxseq.interop import step_program
from tests.interop import step_cases
from tests.models import cases

pytest.importorskip("flatbuffers")

# float32 by other programs, over 50 steps of states that are fed back.
_TOLERANCE = 1e-4


@pytest.mark.parametrize(
  "networks",
  [
    {
      # Complex states, and one that is not 0 at first.
      "two": step_cases.network("lru", "aaren"),
      "tokens": step_cases.network("gru", tokens=True),
    },
    pytest.param(
      {name: step_cases.network(name) for name in mixers.names()},
      marks=pytest.mark.slow,
      id="all",
    ),
  ],
)
def test_programs_do_what_steps_do(tmp_path, networks):
  errors = step_cases.compare(tmp_path, "jax", networks)
  assert max(errors.values()) < _TOLERANCE, errors


def test_the_json_says_what_goes_in_and_out(tmp_path):
  network = step_cases.network("lru", "aaren")
  step = _step(network)
  described = step_program.save(tmp_path / "two.bin", step, batch=3)
  assert step_program.read(tmp_path / "two.json") == described
  inputs = {entry["name"]: entry for entry in described["inputs"]}
  assert list(inputs)[:3] == ["inputs", "reset", "state_0_h_re"]
  assert inputs["reset"] == {"name": "reset", "shape": [3], "dtype": "bool"}
  state = inputs["state_0_h_im"]
  assert (state["initial"], state["next"]) == (0.0, "next_state_0_h_im")
  assert inputs["state_1_m"]["initial"] == float(np.float32(-1e30))
  outputs = [entry["name"] for entry in described["outputs"]]
  assert outputs[0] == "outputs"
  assert set(outputs[1:]) == {
    entry["next"] for entry in described["inputs"] if "next" in entry
  }


def _step(network):
  variables = step_cases.jax.jit(network.init)(
    step_cases.jax.random.key(0), np.zeros((1, 2, 3))
  )
  element = step_cases.jax.ShapeDtypeStruct((3,), np.float32)
  return step_program.of_network(network, variables, element)


def _weights(kind):
  """A network of tokens with experts, its variables and an element."""
  stack = nn.StackConfig(
    "mingru",
    d_model=64,
    num_layers=1,
    feedforward="experts",
    feedforward_options={"experts": 4, "active": 2, "shared_width": 64},
  )
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 5, 5)
  variables = network.init(step_cases.jax.random.key(0), np.zeros((1, 2), int))
  if kind is not None:
    config = quantized.Config(activations=kind, experts=True)
    variables = quantized.quantize(network, variables, config)
  # As a model keeps them.
  variables = step_cases.jax.tree.map(np.asarray, variables)
  return network, variables, step_cases.jax.ShapeDtypeStruct((), np.int32)


@pytest.mark.parametrize("form", ["jax", "onnx"])
@pytest.mark.slow
def test_weights_in_8_bits_stay_so_with_experts_and_any_batch(tmp_path, form):
  if form == "onnx":
    pytest.importorskip("onnxruntime")
  generator = np.random.default_rng(0)
  tokens = generator.integers(0, 5, (9, 7), np.int32)
  reset = generator.random((9, 7)) < 0.1
  wanted, sizes = {}, {}
  for kind in (None, "float", "int8"):
    network, variables, element = _weights(kind)
    step = step_program.of_network(network, variables, element)
    path = tmp_path / f"{kind}.bin"
    step_program.save(path, step, form)
    sizes[kind] = path.stat().st_size
    np.savez(tmp_path / f"{kind}-7.given.npz", inputs=tokens, reset=reset)
    one = step_cases.jax.jit(
      lambda *arrays, network=network, variables=variables: network.apply(
        variables, *arrays, method="step"
      )
    )
    states, wanted[kind] = network.initial_state((7,)), []
    for t in range(len(tokens)):
      output, states = one(tokens[t], states, reset[t])
      wanted[kind].append(np.asarray(output))
  step_cases.run(form, *(tmp_path / f"{kind}.bin" for kind in wanted))
  for kind, outputs in wanted.items():
    with np.load(tmp_path / f"{kind}-7.results.npz") as results:
      # Rounded activations may fall to the other side of a half.
      bound = 0.05 if kind == "int8" else _TOLERANCE
      found = results["outputs"]
      np.testing.assert_allclose(found, outputs, rtol=0, atol=bound)
  assert max(sizes["float"], sizes["int8"]) < 0.45 * sizes[None]


def test_initial_states_that_vary_have_a_file(tmp_path):
  step = _step(step_cases.network("gru"))
  fresh = {
    "state": (
      step.states["state"][0]._replace(h=np.arange(8, dtype=np.float32)),
    )
  }
  step = step._replace(states=fresh)
  described = step_program.save(tmp_path / "gru.bin", step)
  assert described["inputs"][2]["initial"] == "npz"
  assert set(described["files"]) == {"gru.bin", "gru.npz"}
  with np.load(tmp_path / "gru.npz") as arrays:
    stored = arrays["state_0_h"]
  np.testing.assert_array_equal(stored, np.arange(8, dtype=np.float32))


def test_what_was_altered_is_refused(tmp_path):
  path = tmp_path / "gru.json"
  step_program.save(tmp_path / "gru.bin", _step(step_cases.network("gru")))
  text = path.read_text()
  path.write_text(text.replace('"initial": 0.0', '"initial": 1.0', 1))
  with pytest.raises(ValueError, match="it was altered"):
    step_program.read(path)
  path.write_text(json.dumps(json.loads(text) | {"format": 2}))
  with pytest.raises(ValueError, match="format: got 2, expected 1"):
    step_program.read(path)
  path.write_text(text)
  (tmp_path / "gru.bin").write_bytes(b"")
  with pytest.raises(ValueError, match=r"gru\.bin is not the file"):
    step_program.read(path)


@pytest.mark.parametrize(
  ("files", "message"),
  [
    (["gru.bin"], "files: got 'list', expected an object"),
    ("gru.bin", "files: got 'str', expected an object"),
    (None, "files: got 'NoneType', expected an object"),
    ({"a" * 5000: ""}, "files: got 'aaa.*, expected names of files beside it"),
    ({"../gru.bin": ""}, "expected names of files beside it"),
    ({"a\0": ""}, "expected names of files beside it"),
    ({"pipe": ""}, "pipe: got a pipe or a device, expected a file"),
    ({"zero": ""}, "zero: got a pipe or a device, expected a file"),
    ({"folder": ""}, "describes no whole program"),
  ],
)
@pytest.mark.timeout(60)
def test_files_that_are_none_are_refused(tmp_path, files, message):
  os.mkfifo(tmp_path / "pipe")
  (tmp_path / "zero").symlink_to("/dev/zero")
  (tmp_path / "folder").mkdir()
  described = {"format": 1, "files": files}
  described["sha256"] = step_program._sha256(step_program._canonical(described))
  (tmp_path / "gru.json").write_text(json.dumps(described))
  with pytest.raises(ValueError, match=message):
    step_program.read(tmp_path / "gru.json")


def test_a_description_is_of_one_program(tmp_path):
  step = _step(step_cases.network("gru"))
  step_program.save(tmp_path / "gru.bin", step)
  step_program.save(tmp_path / "gru.bin", step)
  with pytest.raises(ValueError, match=r"gru\.json is of another program"):
    step_program.save(tmp_path / "gru.onnx", step, "onnx")
  with pytest.raises(ValueError, match=r"it is of gru\.bin"):
    step_program.read(tmp_path / "gru.onnx")
  # What was left half written is written again.
  (tmp_path / "gru.bin").unlink()
  step_program.save(tmp_path / "gru.bin", step)
  assert step_program.read(tmp_path / "gru.bin")["form"] == "jax"


def test_models_have_steps_or_say_why_not(tmp_path):
  model = cases.case("language").model
  described = model.export_step(tmp_path / "text.bin")
  assert described["inputs"][0]["shape"] == ["batch"]
  assert described["about"]["kind"] == "language"
  assert described["about"]["preparation"]["vocab_size"] == 256
  with pytest.raises(ValueError, match="pooling: got 'mean', expected 'none'"):
    cases.case("classification").model.export_step(tmp_path / "a.bin")
  with pytest.raises(ValueError, match="'Regressor', expected a Sequence"):
    cases.case("regression").model.export_step(tmp_path / "a.bin")
  with pytest.raises(ValueError, match="path: got .*json"):
    model.export_step(tmp_path / "text.json")
  with pytest.raises(ValueError, match="format: got 'torch'"):
    model.export_step(tmp_path / "a.bin", "torch")
