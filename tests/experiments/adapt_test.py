"""The program of adapting: other networks, wrong ones, and what it leaves."""

import json

import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import models
from jaxseq import nn
from jaxseq.adapt import lora
from jaxseq.adapt import peft_file
from jaxseq.data import sources
from jaxseq.programs import adapt
from jaxseq.training import errors
from tests.experiments import programs

CONFIG = "configs/adapt/preferences.py:tiny"


def _saved(path, key=0):
  """A model of bytes that nothing has trained."""
  stack = nn.StackConfig("gru", d_model=8, num_layers=1)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
  tokens = np.zeros((1, 2), np.int32)
  model = models.make(
    "language",
    network,
    network.init(jax.random.key(key), tokens),
    preparation=sources.TextSource(vocab_size=256),
    examples=tokens,
  )
  path.mkdir(exist_ok=True)
  models.model_file.save(path / "model.safetensors", model)


def _config(base, **fields):
  fields = {"data": "sums", "length": 32, "arms": {"a": {}}} | fields
  return adapt.Config(base=str(base), **fields)


def test_a_run_goes_on_with_its_own_network_alone(tmp_path):
  _saved(tmp_path / "base")
  config = _config(tmp_path / "base")
  source = adapt.open_source(config)
  adapt.begin(config, source, tmp_path, "train")
  noted = json.loads((tmp_path / "base.json").read_text())
  assert noted == {"path": config.base, "sha256": source.adapted.digest}
  adapt.begin(config, source, tmp_path, "train")
  _saved(tmp_path / "base", key=1)
  with pytest.raises(
    errors.UserError, match="adapts a network with the digest"
  ):
    adapt.begin(config, adapt.open_source(config), tmp_path, "evaluate")


def test_networks_and_data_that_do_not_fit_are_refused(tmp_path):
  _saved(tmp_path)
  with pytest.raises(ValueError, match="network: got .*, expected none with a"):
    _config(tmp_path, network={"stack": {"d_model": 8}})
  made = adapt.TASK.work(_config(tmp_path)).arms["a"]
  # By the validation part training is watched, and a seed is chosen.
  assert (made.metric, made.part) == ("valid_loss", "validation")
  config = _config(tmp_path, arms={"a": {"network": {"tie": True}}})
  with pytest.raises(ValueError, match="arms: network: got .*none in an arm"):
    adapt.TASK.work(config)


@pytest.mark.slow
def test_adapters_of_a_saved_model_are_left_and_merge_to_what_is_saved(
  monkeypatch, tmp_path, capsys
):
  _saved(tmp_path / "base")
  workdir = tmp_path / "run"
  programs.call(
    monkeypatch,
    "adapt",
    CONFIG,
    workdir,
    f"--config.base={tmp_path / 'base'}",
    "--config.network={}",
    "--config.num_seeds=1",
    "--config.tensorboard=False",
  )
  assert "layers: 1 of 1 gru" in capsys.readouterr().out
  results = json.loads((workdir / "results.json").read_text())
  assert results["full"]["share"] == 1
  assert 0 < results["lora"]["share"] < 0.2
  rows = results["lora"]["adapters"]["weights"]
  base = jaxseq.load(tmp_path / "base/model.safetensors")
  adapters = peft_file.read(workdir / "lora/adapter", tmp_path / "base")
  assert {row["path"] for row in rows} == set(adapters)
  merged = lora.merge(base.variables, adapters)
  saved = jaxseq.load(workdir / "lora/model.safetensors")
  jax.tree.map(
    # Sums of eight small numbers, in float32 in another order.
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
    saved.variables,
    merged,
  )
  assert saved.about["base_sha256"] == adapt.digest(base.variables)
