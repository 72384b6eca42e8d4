"""The server of completions: what it loads, and how it ends."""

import contextlib
import re
import shutil
import signal
import subprocess
import sys

from absl import flags
from absl.testing import flagsaver
import jax
import numpy as np
import pytest

from experiments import serve
import jaxseq
from jaxseq import generation
from jaxseq.adapt import initial_states
from jaxseq.interop import huggingface
from jaxseq.interop import row_predictors
from jaxseq.interop import streamed
from jaxseq.programs import serve as program
from jaxseq.training import errors
from tests import programs
from tests.experiments import programs as experiment_programs
from tests.models import cases

HYBRID = programs.ROOT / "tests" / "golden" / "hybrids" / "falcon_mamba"


@pytest.fixture
def checkpoint(tmp_path):
  directory = tmp_path / "run" / "gru"
  directory.mkdir(parents=True)
  jaxseq.save(directory / "model.safetensors", cases.case("language").model)
  return directory


def test_room_for_patterns(checkpoint):
  served = serve.load(checkpoint)
  found = serve.make_patterns(served, 2**20)
  # Each row, and as much again for what is compiled: 1,060 bytes.
  assert found == generation.PatternConfig(2**20 // (2 * 1060), None, None)
  assert serve.make_patterns(served, 0) is None
  ended = serve.make_patterns(served._replace(stop_tokens=(3, 4)), 2**30)
  assert (ended.states, ended.end_token) == (16_384, 3)
  with pytest.raises(ValueError, match="--pattern_bytes: got 1000, expected 0"):
    serve.make_patterns(served, 1000)


def test_models_that_do_not_fit_into_memory(checkpoint, tmp_path, capsys):
  model = programs.ROOT / "tests" / "golden" / "hybrids" / "nemotron_h"
  directory = shutil.copytree(model, tmp_path / "model")
  loading = serve.Loading(memory="10MB")
  written = directory / "streamed.safetensors"
  for said in (f"Writing all weights to {written}, to stream from.\n", ""):
    _, variables = serve.read_pretrained(directory, loading)
    assert capsys.readouterr().out == said
  assert written.is_file()
  layers = streamed.layers(variables)
  assert layers
  predictors = row_predictors.exact(variables)
  file = tmp_path / "model.predictors"
  row_predictors.save(file, predictors)
  loading = serve.Loading(memory="10MB", predictors=str(file))
  _, variables = serve.read_pretrained(directory, loading)
  for layer in streamed.layers(variables).values():
    assert layer.source.predictor is not None
  with pytest.raises(ValueError, match="stream_to: got 'x', expected None"):
    serve.Loading(stream_to="x")
  with pytest.raises(ValueError, match="quantize: got True, expected False"):
    serve.Loading(memory="1GB", quantize=True)
  with pytest.raises(ValueError, match="memory: got '2 bananas', expected byt"):
    serve.Loading(memory="2 bananas")
  with pytest.raises(ValueError, match="memory: got '1GB', expected no such"):
    serve.load(checkpoint, serve.Loading(memory="1GB"))


def test_checkpoints(checkpoint, tmp_path):
  for path in (checkpoint, checkpoint / "model.safetensors"):
    served = serve.load(path)
    assert served.network == cases.case("language").model.network
    np.testing.assert_array_equal(served.codec.encode("a"), [0, 97])
  with pytest.raises(ValueError, match=r"expected one of its arms \(gru\)"):
    serve.load(checkpoint.parent)
  with pytest.raises(ValueError, match="expected one with model.safetensors"):
    serve.load(tmp_path)
  with pytest.raises(FileNotFoundError):
    serve.load(tmp_path / "absent")
  for text in ("{", "[" * 10**5):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"/config\.json is not JSON"):
      serve.load(tmp_path)
  jaxseq.save(tmp_path / "a.safetensors", cases.case("classification").model)
  with pytest.raises(ValueError, match="expected a model of language"):
    serve.load(tmp_path / "a.safetensors")


def test_a_pretrained_directory_needs_a_tokenizer(tmp_path):
  with pytest.raises(ValueError, match="tokens without a tokenizer"):
    serve.load(HYBRID)
  tokenizers = pytest.importorskip("tokenizers", reason="an extra is needed")
  for path in HYBRID.glob("*.*"):
    shutil.copy(path, tmp_path)
  config, variables = huggingface.load(HYBRID)
  network = huggingface.make_network(config, variables)
  words = {f"w{i}": i for i in range(network.vocab_size)}
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "w0"))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.save(str(tmp_path / "tokenizer.json"))
  served = serve.load(tmp_path)
  np.testing.assert_array_equal(served.codec.encode("w3 w5"), [3, 5])
  assert served.codec.decode([4, 2]) == "w4 w2"


def test_what_ends_a_text_is_told_by_both_files(tmp_path):
  config = tmp_path / "config.json"
  more = tmp_path / "generation_config.json"
  config.write_text("{}")
  assert huggingface.stop_tokens(tmp_path) == ()
  config.write_text('{"eos_token_id": 7}')
  assert huggingface.stop_tokens(tmp_path) == (7,)
  more.write_text('{"eos_token_id": [8, 7]}')
  assert huggingface.stop_tokens(tmp_path) == (7, 8)
  config.write_text('{"eos_token_id": null}')
  assert huggingface.stop_tokens(tmp_path) == (8, 7)
  more.write_text('{"eos_token_id": "</s>"}')
  with pytest.raises(ValueError, match="eos_token_id: got '</s>', expected"):
    huggingface.stop_tokens(tmp_path)


def test_prompts_are_not_longer_than_what_attention_sees(checkpoint):
  jamba = huggingface.open_model(HYBRID.parent / "jamba", context=17)
  assert jamba.positions == 18
  assert huggingface.open_model(HYBRID).positions is None
  served = serve.load(checkpoint)
  with flagsaver.flagsaver():
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()
    default = serve.make_limits(served).prompt_tokens
    seen = served._replace(positions=jamba.positions)
    assert serve.make_limits(seen).prompt_tokens == 18
    flags.FLAGS.long_prompts = True
    assert serve.make_limits(seen).prompt_tokens == default


def test_states_of_a_server(checkpoint, tmp_path):
  served = serve.load(checkpoint)
  states = initial_states.parameters(served.network, served.variables)
  states = {path: leaf + 0.1 for path, leaf in states.items()}
  path = tmp_path / "states.safetensors"
  initial_states.save(path, states, served.variables)
  tuned = serve.with_states(served, str(path))
  assert tuned.variables["params"] is served.variables["params"]
  begun = tuned.network.initial_state(variables=tuned.variables)
  leaves = [leaf for leaf in jax.tree.leaves(begun) if np.any(leaf)]
  assert leaves
  assert serve.with_states(served, None) is served


@pytest.mark.slow
def test_drafts_of_a_server(checkpoint):
  served = serve.load(checkpoint)
  assert serve.make_drafts(None) == {}
  expected = None
  for drafts in (None, "recycling", str(checkpoint)):
    engine = generation.Engine(
      served.network,
      served.variables,
      generation.EngineConfig(slots=2, lines=1, chunk=4, steps=2),
      **serve.make_drafts(drafts),
    )
    greedy = generation.Sampling(temperature=0)
    request = generation.Request([0, 65], 12, sampling=greedy)
    ((row,),) = engine.run([request])
    expected = row.tokens if expected is None else expected
    # The model drafts for itself; in float32 no two logits are nearly equal.
    np.testing.assert_array_equal(row.tokens, expected)
  assert engine.passes == 3
  with pytest.raises(FileNotFoundError):
    serve.make_drafts(str(checkpoint / "absent"))


def test_adapters_of_a_server(checkpoint):
  adapter = programs.ROOT / "tests/golden/adapt/lora/falcon_mamba"
  adapters = serve.make_adapters([f"a={adapter}", f"b={adapter}"], HYBRID)
  assert list(adapters) == ["a", "b"]
  assert all("/mixer/" in path for path in adapters["a"])
  for entry in ("a", "=x", "a="):
    with pytest.raises(ValueError, match="expected NAME=DIRECTORY, each"):
      serve.make_adapters([entry], HYBRID)
  with pytest.raises(ValueError, match="each name once"):
    serve.make_adapters([f"a={adapter}"] * 2, HYBRID)
  with pytest.raises(ValueError, match="modules of the model"):
    serve.make_adapters([f"a={adapter}"], checkpoint)
  with pytest.raises(ValueError, match="/absent: got no adapter_config.json"):
    serve.make_adapters(["a=/absent"], HYBRID)


def test_flags_of_texts_are_refused_where_items_are_served(
  tmp_path, monkeypatch
):
  pytest.importorskip("uvicorn", reason="the extra serve is needed")
  path = tmp_path / "model.safetensors"
  jaxseq.save(path, cases.case("recommendation").model)
  argv = ["serve", f"--checkpoint={path}", "--port=0", "--drafts=recycling"]
  message = "--drafts: got 'recycling', expected none with a model of recommend"
  served = []
  monkeypatch.setattr(
    generation.server, "serve", lambda *unused, **bounds: served.append(bounds)
  )
  # Tests before this one may have defined flags that other programs require.
  monkeypatch.setattr(flags.FlagValues, "validate_all_flags", lambda self: None)
  with pytest.raises(errors.UserError, match=message):
    experiment_programs.call_with(monkeypatch, "serve", argv)
  bounds = ["--users=9", "--connections=7", "--request_timeout=5"]
  experiment_programs.call_with(monkeypatch, "serve", [*argv[:-1], *bounds])
  assert served == [{"connections": 7, "request_timeout": 5.0}]
  jaxseq.save(path, cases.case("language").model)
  message = "--users: got 9, expected none with a model of language"
  with pytest.raises(errors.UserError, match=message):
    experiment_programs.call_with(monkeypatch, "serve", [*argv[:-1], *bounds])


def test_flags_are_checked_before_the_model_is_loaded(checkpoint, monkeypatch):
  pytest.importorskip("uvicorn", reason="the extra serve is needed")
  monkeypatch.setattr(flags.FlagValues, "validate_all_flags", lambda self: None)

  def of_model(*unused):
    raise AssertionError("The model was loaded.")

  monkeypatch.setattr(program, "of_model", of_model)
  argv = ["serve", f"--checkpoint={checkpoint}"]
  for flag, message in (
    ("--key_channels=0", "key_channels: got 0.0, expected a number above 0"),
    ("--memory=2 bananas", "memory: got '2 bananas', expected bytes above 0"),
  ):
    with (
      flagsaver.flagsaver(),
      pytest.raises(errors.UserError, match=message),
    ):
      experiment_programs.call_with(monkeypatch, "serve", [*argv, flag])


@contextlib.contextmanager
def _served(checkpoint, *options):
  """Runs the program; yields its process and a client."""
  openai = pytest.importorskip("openai", reason="a client is needed")
  process = subprocess.Popen(
    [sys.executable, "-m", "experiments.serve", "--port=0", *options]
    + [f"--checkpoint={checkpoint}"],
    cwd=programs.ROOT,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    for line in process.stderr:
      found = re.search(r"running on (http://127\.0\.0\.1:\d+)", line)
      if found:
        break
    with openai.OpenAI(
      base_url=f"{found.group(1)}/v1", api_key="none", max_retries=0
    ) as client:
      yield process, client
  finally:
    process.kill()
    process.stderr.close()
    process.wait()


@pytest.mark.slow
def test_a_server_ends_in_order(checkpoint):
  """SIGTERM lets the answer come to its end that has begun."""
  openai = pytest.importorskip("openai", reason="a client is needed")
  with _served(checkpoint, "--steps=1") as (process, client):
    pieces = client.completions.create(
      model="gru", prompt="a", max_tokens=200, stream=True
    )
    first = next(pieces)
    process.send_signal(signal.SIGTERM)
    rest = list(pieces)
    assert first.model == "gru"
    assert rest[-1].choices[0].finish_reason == "length"
    with pytest.raises(openai.APIConnectionError):
      client.models.list()
    assert process.wait(60) == 0


@pytest.mark.slow
def test_a_server_that_ends_gives_up_what_is_too_long(checkpoint):
  """SIGTERM and an answer that takes longer than the time there is."""
  openai = pytest.importorskip("openai", reason="a client is needed")
  most = 10**8
  options = ("--grace=1", f"--max_tokens={most}")
  with _served(checkpoint, *options) as (process, client):
    pieces = client.completions.create(
      model="gru", prompt="a", max_tokens=most, stream=True
    )
    assert next(pieces).model == "gru"
    process.send_signal(signal.SIGTERM)
    with pytest.raises(openai.APIError, match="no time for an end before it"):
      list(pieces)
    assert process.wait(60) == 0
    logged = process.stderr.read()
    assert "Finished server process" in logged
    assert "Traceback" not in logged


@pytest.mark.slow
def test_a_mistake_is_one_sentence(tmp_path):
  done = programs.run("-m", "experiments.serve", f"--checkpoint={tmp_path}/a")
  assert done.returncode == 2
  assert re.fullmatch(r"error: .*a: No such file or directory\n", done.stderr)
