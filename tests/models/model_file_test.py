"""Files of models: whole, damaged, foreign, of other versions."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import sys
import types

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import data
from jaxseq import models
from jaxseq.interop import described_file
from jaxseq.interop import safetensors_file
from jaxseq.models import model_file
from jaxseq.rl import algorithms
from jaxseq.tasks import classification
from jaxseq.training import integrity
from tests.models import cases


@pytest.fixture(params=cases.CASES)
def model(request):
  return cases.case(request.param).model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("model") / "m.safetensors"
  jaxseq.save(path, cases.case("classification").model)
  return path


def rewritten(file, tmp_path, change):
  """A file whose JSON is changed, with a digest that is right."""
  tensors, metadata = safetensors_file.read_all(file)
  described = json.loads(metadata["jaxseq"])
  del described["sha256"]
  change(described, tensors)
  described["sha256"] = described_file.digest(described, tensors)
  path = tmp_path / "changed.safetensors"
  safetensors_file.write(path, tensors, {"jaxseq": json.dumps(described)})
  return path


def test_what_is_read_is_what_was_written(model, tmp_path):
  path = tmp_path / "m.safetensors"
  jaxseq.save(path, model)
  found = jaxseq.load(path)
  assert found.kind == model.kind
  assert model_file._encode(found.network, "network") == (
    model_file._encode(model.network, "network")
  )
  assert found.preparation == model.preparation
  assert found.signature == model.signature
  assert found.about == model.about
  assert found.versions == model.versions
  jax.tree.map(np.testing.assert_array_equal, found.variables, model.variables)
  # The same model makes the same file.
  again = tmp_path / "again.safetensors"
  jaxseq.save(again, found)
  assert again.read_bytes() == path.read_bytes()


def test_the_digest_is_that_of_all_that_is_in_the_file(file):
  tensors, metadata = safetensors_file.read_all(file)
  described = json.loads(metadata["jaxseq"])
  stated = described.pop("sha256")
  text = json.dumps(described, sort_keys=True)
  whole = hashlib.sha256(text.encode())
  for name in sorted(tensors):
    whole.update(f"{name}:{integrity.leaf_digest(tensors[name])}".encode())
  assert jaxseq.load(file).digest == stated == whole.hexdigest()


@pytest.mark.slow
def test_options_of_a_mixer_with_infinities_survive(tmp_path):
  limits = {"dt_limit": (0.0, float("inf")), "headdim": 8}
  model = cases.classes(mixer="mamba2", **limits).model
  path = tmp_path / "m.safetensors"
  jaxseq.save(path, model)
  assert jaxseq.load(path).network == model.network


def test_a_changed_bit_is_found(file, tmp_path):
  content = bytearray(file.read_bytes())
  content[-3] ^= 4
  path = tmp_path / "m.safetensors"
  path.write_bytes(content)
  with pytest.raises(ValueError, match="no whole model.*SHA-256 differs"):
    jaxseq.load(path)


@pytest.mark.parametrize("kept", [0, 7, 100, -5])
def test_cut_files_get_one_sentence(file, tmp_path, kept):
  path = tmp_path / "m.safetensors"
  path.write_bytes(file.read_bytes()[:kept])
  with pytest.raises(ValueError, match="is no safetensors file, or is damaged"):
    jaxseq.load(path)


def test_foreign_files_get_one_sentence(tmp_path):
  path = tmp_path / "m.safetensors"
  safetensors_file.write(path, {"a": np.zeros(3, np.float32)}, {"format": "pt"})
  with pytest.raises(ValueError, match="holds tensors and no model of jaxseq"):
    jaxseq.load(path)
  np.savez(tmp_path / "a.npz", a=np.zeros(3))
  with pytest.raises(ValueError, match="is no safetensors file"):
    jaxseq.load(tmp_path / "a.npz")
  with pytest.raises(FileNotFoundError):
    jaxseq.load(tmp_path / "absent")


@pytest.mark.parametrize(
  ("number", "age"), [(described_file.FORMAT + 1, "a later"), (0, None)]
)
def test_files_of_other_versions_say_so(file, tmp_path, number, age):
  def change(described, tensors):
    described.update(format=number, versions={"jaxseq": "9.9"}, more=1)

  expected = f"format {number}, of {age} version of jaxseq .9.9."
  if age is None:
    expected = "format: got 0, expected a number"
  with pytest.raises(ValueError, match=expected):
    jaxseq.load(rewritten(file, tmp_path, change))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      lambda d, t: d.update(kind="clasification"),
      "did you mean classification",
    ),
    (lambda d, t: d.pop("about"), "fields: got .'about'"),
    (lambda d, t: d.update(network=[1]), "network: got 'list'"),
    (lambda d, t: d["network"].update(name="x"), "network: got 'name'"),
    (lambda d, t: d["network"].update(colour=1), "no field 'colour'"),
    (
      lambda d, t: d["network"]["config"]["stack"].update(mixer="gruu"),
      "gruu",
    ),
    (
      lambda d, t: d["network"]["config"]["stack"].update(num_layers=10**6),
      "num_layers: got 1000000",
    ),
    (
      lambda d, t: d["network"]["config"]["stack"].update(d_model=10**9),
      "d_model: got 1000000000",
    ),
    (
      lambda d, t: d["network"].update(num_outputs=4),
      "its tensors are not those of its network",
    ),
    (lambda d, t: t.pop("params/encoder/kernel"), "not those of its network"),
    (lambda d, t: d["preparation"].update(kind="series2"), "series2"),
    (lambda d, t: d["signature"].update(inputs=3), "signature: inputs"),
  ],
)
def test_what_makes_no_model_gets_one_sentence(file, tmp_path, change, message):
  with pytest.raises(ValueError, match=message):
    jaxseq.load(rewritten(file, tmp_path, change))


def _set(name, value, index=(0,)):
  """A change that puts a number into a tensor."""

  def change(described, tensors):
    array = tensors[name].copy()
    array[(*index, *[0] * (array.ndim - len(index)))] = value
    tensors[name] = array

  return change


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (_set("params/encoder/kernel", np.nan), "encoder/kernel: got numbers that"),
    (_set("params/encoder/kernel", -np.inf), "encoder/kernel: got numbers"),
    (
      lambda d, t: t.update({"params/encoder": np.zeros(2, np.float32)}),
      "none below 'params/encoder', which is a tensor",
    ),
    (
      lambda d, t: t.update({"a" + "/a" * 50_000: np.zeros(2, np.float32)}),
      "expected names of 64 parts",
    ),
    (
      lambda d, t: d["preparation"].update(classes=["a", "b"]),
      "classes: got 2, expected 3, one for each output",
    ),
    (
      lambda d, t: d["preparation"].update(classes=["a", "b", "a"]),
      "classes: got .'a'., expected each name once",
    ),
    (
      lambda d, t: d["preparation"].update(
        mean=[1e308, 0.0], deviation=[5e-324, 1.0]
      ),
      "deviation: got '5e-324 for the mean 1e.308'",
    ),
    (
      lambda d, t: d["preparation"].update(length=10**7),
      "preparation: length: got 10000000",
    ),
    (
      lambda d, t: d["preparation"].update(image_size=[10**5, 10**5]),
      "preparation: image_size",
    ),
    (
      lambda d, t: d["preparation"].update(kind="forecast", horizon=1e9),
      "preparation: horizon: got 1000000000.0, expected at most 1024",
    ),
    (
      lambda d, t: d["preparation"].update(kind="text", vocab_size=10**9),
      "preparation: vocab_size",
    ),
    (
      lambda d, t: d["network"]["config"]["stack"].update(norm_epsilon=-1.0),
      "norm_epsilon: got -1.0, expected a finite number of at least 0",
    ),
    (
      lambda d, t: d["network"]["config"]["stack"].update(
        norm_epsilon={"float": "nan"}
      ),
      "norm_epsilon: got nan",
    ),
  ],
)
def test_wrong_models_are_not_believed(file, tmp_path, change, message):
  with pytest.raises(ValueError, match=f"no whole model: .*{message}"):
    jaxseq.load(rewritten(file, tmp_path, change))


def test_weights_that_diverged_are_read_where_it_is_said(file, tmp_path):
  path = rewritten(file, tmp_path, _set("params/encoder/kernel", np.nan))
  model = jaxseq.load(path, finite=False)
  assert np.isnan(model.variables["params"]["encoder"]["kernel"][0, 0])


def test_versions_cannot_steer_a_terminal(file, tmp_path):
  def change(described, tensors):
    described.update(format=2, versions={"jaxseq": "\x1b[31m9"})

  with pytest.raises(ValueError) as caught:
    jaxseq.load(rewritten(file, tmp_path, change))
  assert "\x1b" not in str(caught.value)
  assert r"\x1b[31m9" in str(caught.value)


def test_a_mesh_is_no_part_of_a_model(tmp_path):
  case = cases.case("classification")
  config = case.model.network.config
  stack = dataclasses.replace(config.stack, time_axis="time")
  network = case.model.network.clone(
    config=dataclasses.replace(config, stack=stack)
  )
  model = dataclasses.replace(case.model, network=network)
  jaxseq.save(tmp_path / "m", model)
  assert jaxseq.load(tmp_path / "m").network == case.model.network


def test_what_json_cannot_hold_is_refused(tmp_path):
  case = cases.case("classification")
  model = dataclasses.replace(case.model, about={"when": object()})
  with pytest.raises(ValueError, match="about.when: got <object"):
    jaxseq.save(tmp_path / "m", model)
  assert not (tmp_path / "m").exists()


def test_kinds_are_known():
  with pytest.raises(ValueError, match="kind of model: got 'class'"):
    models.make("class", None, {}, cases.case("classification").splits)


def test_a_file_of_this_format_stays_readable():
  folder = pathlib.Path(__file__).resolve().parents[1] / "golden" / "models"
  model = jaxseq.load(folder / "classes.safetensors")
  with np.load(folder / "classes.npz") as wanted:
    dataset = data.ArrayDataset(
      wanted["inputs"], np.zeros(6, np.int32), wanted["lengths"]
    )
    found = model.predict(dataset)
    # float32, on any machine.
    np.testing.assert_allclose(
      found.arrays["probability"], wanted["probability"], rtol=1e-4
    )
  assert set(found) > {"id", "class", "probability_a"}


@pytest.mark.slow
def test_files_of_other_kinds_stay_readable():
  # Written before one function read all kinds, and policies kept their spaces.
  folder = pathlib.Path(__file__).resolve().parents[1] / "golden" / "models"
  with np.load(folder / "kinds.npz") as arrays:
    wanted = dict(arrays)
  network, variables = jaxseq.load(folder / "network.safetensors")
  # float32, on any machine.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  close(network.apply(variables, wanted["inputs"])[0], wanted["outputs"])
  policy = jaxseq.load(folder / "policy.safetensors")
  player = algorithms.of(policy.config).player(policy.config)
  memory, first = player.network.initial_state((2,)), np.zeros(2, bool)
  _, value, _ = player.network.apply(
    policy.variables, wanted["observation"], memory, first, method="step"
  )
  close(value, wanted["value"])
  action, _ = policy.act(np.int32(0), policy.initial_memory())
  assert action in range(4)
  player = jaxseq.load(folder / "player.safetensors")
  close(player.scale.mean, wanted["mean"])


def test_kinds_from_outside_name_the_module_that_reads_them(
  tmp_path, monkeypatch
):
  reader = types.ModuleType("some_project.read")
  reader.TASK = classification.TASK
  monkeypatch.setitem(sys.modules, reader.__name__, reader)
  path, kinds = tmp_path / "m.safetensors", model_file.kinds.KINDS
  model = cases.case("classification").model
  with monkeypatch.context() as registered:
    registered.setitem(kinds._paths, "some_kind", f"{reader.__name__}:TASK")
    jaxseq.save(path, dataclasses.replace(model, kind="some_kind"))
    assert jaxseq.load(path).kind == "some_kind"
  message = (
    f"{path}: kind: got 'some_kind', expected `import some_project.read` "
    "before, which reads it."
  )
  with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
    jaxseq.load(path)

  def other(described, tensors):
    described["module"] = "some project\nand commands"

  damaged = rewritten(path, tmp_path, other)
  with pytest.raises(ValueError, match="got 'some_kind', expected one of"):
    jaxseq.load(damaged)


def test_kinds_of_jaxseq_name_no_module(file):
  _, metadata = safetensors_file.read_all(file)
  assert "module" not in json.loads(metadata["jaxseq"])
