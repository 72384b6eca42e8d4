"""The program of adapting: other networks, wrong ones, and what it leaves."""

import functools
import importlib
import json
import pathlib
import shutil

from absl import logging
import jax
import numpy as np
import pytest

import jaxseq
from jaxseq import models
from jaxseq import nn
from jaxseq.adapt import initial_states
from jaxseq.adapt import lora
from jaxseq.adapt import peft_file
from jaxseq.data import sources
from jaxseq.interop import huggingface
from jaxseq.interop import safetensors_file
from jaxseq.programs import adapt
from jaxseq.programs import adapted_files
from jaxseq.programs import serve
from jaxseq.tasks import adaptation
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import scalars
from tests.experiments import programs

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
CHATS = GOLDEN / "adapt" / "chats"
CONFIG = "configs/adapt/preferences.py:tiny"
# On pieces of a text that begin afresh.
STATES = """
from configs import supervised
from configs.adapt import texts

def get_config():
  return supervised.tiny_text(texts.STATES, arms=texts.STATES.arms)
"""


def _network(mixer="gru", key=0, head_bias=True, vocab_size=256, **options):
  """A network of bytes that nothing has trained, and its variables."""
  stack = nn.StackConfig(mixer, d_model=8, num_layers=1, **options)
  config = nn.NetworkConfig(stack, head_bias=head_bias)
  network = nn.SequenceNetwork(config, vocab_size, vocab_size)
  return network, jax.jit(network.init)(
    jax.random.key(key), np.zeros((1, 2), np.int32)
  )


def _pretrained(path, **options):
  """Writes one as the transformers library does; returns its variables."""
  network, variables = _network(
    "mamba2",
    head_bias=False,
    mixer_options={"d_state": 4, "headdim": 8},
    norm="rms",
    norm_epsilon=1e-5,
    activation="none",
    **options,
  )
  huggingface.save(path, network.config, variables)
  return variables


def _saved(path, key=0):
  """Writes such a network, and how texts are prepared for it."""
  model = models.make(
    "language",
    *_network(key=key),
    preparation=sources.TextSource(vocab_size=256),
    examples=np.zeros((1, 2), np.int32),
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
  begin = functools.partial(adapted_files.begin, tmp_path)
  begin("train", config.base, source.adapted)
  noted = json.loads((tmp_path / "base.json").read_text())
  assert noted == {"path": config.base, "sha256": source.adapted.digest}
  begin("train", config.base, source.adapted)
  _saved(tmp_path / "base", key=1)
  with pytest.raises(
    errors.UserError, match="adapts a network with the digest"
  ):
    begin("evaluate", config.base, adapt.open_source(config).adapted)
  for text, message in (
    ("[]", "base.json: got 'list', expected an object"),
    ("{}", "base.json: sha256: got 'NoneType', expected a digest"),
  ):
    (tmp_path / "base.json").write_text(text)
    with pytest.raises(ValueError, match=message):
      begin("evaluate", config.base, source.adapted)


def test_networks_and_data_that_do_not_fit_are_refused(tmp_path):
  # What was forgotten is no network of random weights.
  with pytest.raises(ValueError, match="base: got 'none', expected a model to"):
    adapt.open_source(_config(""))
  with pytest.raises(
    ValueError, match="config.base: got .*nothing', expected a"
  ):
    adapt.open_source(_config(str(tmp_path / "nothing")))
  _saved(tmp_path)
  with pytest.raises(ValueError, match="network: got .*, expected none with a"):
    _config(tmp_path, network={"stack": {"d_model": 8}})
  made = adapt.TASK.work(_config(tmp_path)).arms["a"]
  # By the validation part training is watched, and a seed is chosen.
  assert (made.metric, made.part) == ("valid_loss", "validation")
  config = _config(tmp_path, arms={"a": {"network": {"tie": True}}})
  with pytest.raises(ValueError, match="arms: network: got .*none in an arm"):
    adapt.TASK.work(config)


def test_a_pretrained_model_stays_one_for_its_readers(tmp_path):
  base, place = tmp_path / "base", tmp_path / "full"
  variables = jax.tree.map(lambda x: x + 1, _pretrained(base))
  texts = {"generation_config.json": "{}", "tokenizer_config.json": "{}"}
  for name, text in texts.items():
    (base / name).write_text(text)
  served = serve.load(base)
  adapted_files.write_pretrained(
    place, str(base), served.network.config, variables
  )
  # It may be served, and adapted further.
  left = serve.load(place / "pretrained")
  assert left.network == served.network
  jax.tree.map(np.testing.assert_array_equal, left.variables, variables)
  assert {path.name for path in (place / "pretrained").iterdir()} == {
    *texts,
    "config.json",
    "model.safetensors",
  }


# The commands of docs/adapting.md, and a line of each one's file.
DOCUMENTED = {
  "preferences:chats": {"prompt": "a", "completion": "b"},
  "preferences:pairs": {"prompt": "a", "chosen": "b", "rejected": "c"},
  "texts:text": None,
  "texts:text_states": None,
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_configs_take_the_tokenizer_of_the_base(name):
  module, variant = name.split(":")
  config = importlib.import_module(f"configs.adapt.{module}").get_config(
    variant
  )
  options = {**config.data_options, "path": "absent.jsonl"}
  config = configuration.updated(config, data_options=options)
  with pytest.raises((ValueError, FileNotFoundError), match="absent"):
    config.load(tokenizer="absent")


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_commands_open_a_pretrained_model(name, tmp_path):
  pytest.importorskip("tokenizers", reason="an extra is needed")
  variables = _pretrained(tmp_path / "base", vocab_size=260)
  for path in CHATS.glob("tokenizer*.json"):
    shutil.copy(path, tmp_path / "base")
  module, variant = name.split(":")
  line, path = DOCUMENTED[name], tmp_path / "data.txt"
  text = f"{json.dumps(line)}\n" * 20 if line else "a text of words. " * 400
  path.write_text(text)
  config = importlib.import_module(f"configs.adapt.{module}").get_config(
    variant
  )
  config = configuration.updated(
    config,
    base=str(tmp_path / "base"),
    data_options={**config.data_options, "path": str(path)},
  )
  source = adapt.open_source(config)
  assert source.pretrained
  assert source.splits.info.preparation.tokenizer is not None
  jax.tree.map(
    np.testing.assert_array_equal, source.adapted.variables, variables
  )


def test_a_base_is_loaded_as_the_config_says(tmp_path):
  base = tmp_path / "base"
  shutil.copytree(GOLDEN / "hybrids" / "jamba", base)
  config = json.loads((base / "config.json").read_text())
  config["max_position_embeddings"] = 262_144
  (base / "config.json").write_text(json.dumps(config))
  loading = serve.Loading
  with pytest.raises(ValueError, match="context: got None, expected a number"):
    serve.read_pretrained(base, loading())
  network, variables = serve.read_pretrained(
    base, loading(context=17, param_dtype="bfloat16")
  )
  layers = network.config.stack.every_layer
  assert {x.mixer_config.window for x in layers if x.mixer == "attention"} == {
    17
  }
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(variables)}
  assert dtypes == {np.dtype("bfloat16")}
  # Adapters need no context.
  assert peft_file.names(base)
  _, small = serve.read_pretrained(base, loading(context=17, quantize=True))
  kinds = {leaf.dtype for leaf in jax.tree.leaves(small)}
  assert np.dtype("int8") in kinds
  _saved(tmp_path / "own")
  for name, value in (("context", 17), ("param_dtype", "bfloat16")):
    with pytest.raises(ValueError, match=f"{name}: got .*, expected no such"):
      adapt.open_source(_config(tmp_path / "own", **{name: value}))
  source = adapt.open_source(_config(tmp_path / "own", quantize=True))
  assert np.dtype("int8") in {
    leaf.dtype for leaf in jax.tree.leaves(source.adapted.variables)
  }
  config = _config(tmp_path / "own", quantize=True, arms={"a": {}})
  assert adapt.TASK.work(config).arms["a"]
  config = _config(
    tmp_path / "own", quantize=True, arms={"a": {"method": "full"}}
  )
  with pytest.raises(ValueError, match="method: got 'full', expected a method"):
    adapt.TASK.work(config)


def test_weights_that_a_file_of_adapters_cannot_hold(tmp_path):
  base = GOLDEN / "hybrids" / "recurrent_gemma"
  network, variables = serve.read_pretrained(base, serve.Loading())
  adapted = adaptation.Base(network, variables, names=peft_file.names(base))
  source = adapt.Source(None, adapted, True, None, False)
  config = _config(base)
  arm = adapt.TASK.fit(adaptation.ArmConfig(), source, config)
  table = adapt.TASK.more(config, arm, source).table
  adapters = lora.init(
    jax.random.key(0), network, variables, arm.adapters, adapted.names
  )
  assert len(adapters) == len(table.rows)
  peft_file.write(tmp_path, adapters, base)
  arm = adaptation.ArmConfig(adapters=lora.Config(("W_i",)))
  arm = adapt.TASK.fit(arm, source, config)
  with pytest.raises(ValueError, match="targets: got .*W_i', expected targets"):
    adapt.TASK.more(config, arm, source)


@pytest.mark.parametrize(
  "name", ["hybrids/falcon_h1", "hybrids/nemotron_h", "interop/mamba2"]
)
def test_adapters_of_the_default_are_those_that_peft_reads(
  name, monkeypatch, tmp_path
):
  said = []
  monkeypatch.setattr(logging, "warning", lambda *words: said.append(words))
  base = GOLDEN / name
  network, variables = serve.read_pretrained(base, serve.Loading(context=17))
  adapted = adaptation.Base(network, variables, names=peft_file.names(base))
  source = adapt.Source(None, adapted, True, None, False)
  said.clear()
  arm = adapt.TASK.fit(adaptation.ArmConfig(), source, _config(base))
  ((sentence, count, first),) = said
  assert "%d weights such as %s are left out" in sentence
  assert first.endswith("out_proj")
  table = adapt.TASK.more(_config(base), arm, source).table
  hit = {each for row in table.rows for each in row.names}
  assert any(each.endswith("in_proj") for each in hit)
  every = {each for names in adapted.names.values() for each in names}
  lost = {each for each in every - hit if each.endswith("out_proj")}
  assert len(lost) == count
  assert not peft_file.unreadable(hit, base)
  # What is asked for by name is adapted all the same.
  targets = lora.Config(("out_proj",))
  arm = adapt.TASK.fit(
    adaptation.ArmConfig(adapters=targets), source, _config(base)
  )
  assert arm.adapters == targets


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
  assert saved.about["base_sha256"] == initial_states.digest(base.variables)


ADAPTER = {
  f"adapter/{name}"
  for name in ("about.json", "adapter_config.json", "adapter_model.safetensors")
}


def _left(directory):
  """What an arm leaves for other programs, without what made it, by places."""
  return {
    str(path.relative_to(directory)): path.read_bytes()
    if path.suffix == ".json"
    else {k: x.tobytes() for k, x in safetensors_file.read(path).items()}
    for path in directory.rglob("*")
    if path.suffix in (".json", ".safetensors")
    if path.parent.name in (directory.name, "adapter", "pretrained")
  }


@pytest.mark.slow
@pytest.mark.parametrize(
  ("pretrained", "expected"),
  [
    (
      False,
      {
        "states": {"states.safetensors", "model.safetensors"},
        "lora_states": ADAPTER | {"states.safetensors", "model.safetensors"},
      },
    ),
    (
      True,
      {
        "full": {"pretrained/config.json", "pretrained/model.safetensors"},
        # They are served beside the base.
        "lora_states": ADAPTER | {"states.safetensors"},
      },
    ),
  ],
)
def test_a_run_that_goes_on_leaves_the_same_files(
  monkeypatch, tmp_path, pretrained, expected
):
  base, config = tmp_path / "base", tmp_path / "states.py"
  config.write_text(STATES)
  if pretrained:
    variables = _pretrained(base)
  else:
    _saved(base)

  def run(workdir):
    programs.call(
      monkeypatch,
      "adapt",
      config,
      workdir,
      f"--arms={','.join(expected)}",
      f"--config.base={base}",
      "--config.network={}",
      "--config.num_seeds=1",
      "--config.chunks_per_checkpoint=1",
      "--config.tensorboard=False",
    )

  whole, part = tmp_path / "whole", tmp_path / "part"
  run(whole)
  # As if the run had been killed between its two checkpoints.
  shutil.copytree(whole, part)
  (part / "results.json").unlink()
  for arm, names in expected.items():
    assert _left(part / arm).keys() == names
    for name in names:
      (part / arm / name).unlink()
    shutil.rmtree(part / arm / "checkpoints" / "4")
  run(part)
  for arm, names in expected.items():
    assert _left(part / arm) == _left(whole / arm)
    first, last = (
      [row["loss"] for row in scalars.read(each / arm) if "loss" in row]
      for each in (whole, part)
    )
    assert len(first) == 2
    assert first == last
    if "states.safetensors" in names:
      served = variables if pretrained else None
      if "model.safetensors" in names:
        served = jaxseq.load(part / arm / "model.safetensors").variables
      states = initial_states.load(part / arm / "states.safetensors", served)
      assert any(np.any(state) for state in states.values())
    if names >= ADAPTER:
      adapters = peft_file.read(part / arm / "adapter", base)
      assert any(np.any(each.b) for each in adapters.values())


def test_the_loss_of_pairs_is_one_option_of_all_arms():
  overrides = ["pairs.kind=simpo", "pairs.beta=2.0", "arms.full.pairs.beta=1.0"]
  config = configuration.load(CONFIG, overrides, adapt.Config)
  full, lora_arm = (
    adapt.TASK.arm_config(config, name).pairs for name in ("full", "lora")
  )
  assert (full.kind, full.beta) == ("simpo", 1.0)
  assert (lora_arm.kind, lora_arm.beta) == ("simpo", 2.0)
