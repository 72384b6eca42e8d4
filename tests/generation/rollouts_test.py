"""Log-probabilities of rollouts are those of training."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.interop import huggingface
from tests.generation import networks

BASES = pathlib.Path(__file__).resolve().parents[1] / "golden/hybrids"
FAMILIES = sorted(path.name for path in BASES.iterdir())
ROWS, TIME = 64, 12


def _differences(network, variables, stop=()):
  """Differences of the log-probabilities of rollouts and of training."""
  rng = np.random.default_rng(0)
  prompt = jnp.asarray(rng.integers(network.vocab_size, size=(ROWS, 5)))
  rows = generation.rollouts(
    network, variables, prompt, TIME, jax.random.key(1), stop=stop
  )
  whole = jnp.concatenate([prompt, rows.tokens], axis=1)
  logits, _ = jax.jit(network.apply)(variables, whole[:, :-1])
  logs = jax.nn.log_softmax(logits[:, 4:])
  logs = jnp.take_along_axis(logs, rows.tokens[..., None], -1)[..., 0]
  differences = np.asarray(rows.log_probs - logs)[np.asarray(rows.mask)]
  assert np.ptp(logs) > 0.1
  return rows, differences


@pytest.mark.parametrize(
  "mixers",
  [
    ("gru",),
    pytest.param(("mamba2", "attention"), marks=pytest.mark.slow),
    pytest.param(("gated_deltanet", "rwkv4"), marks=pytest.mark.slow),
    pytest.param(("rwkv7",), marks=pytest.mark.slow),
  ],
  ids="-".join,
)
@pytest.mark.usefixtures("x64")
def test_float64(mixers):
  _, variables = networks.make(*mixers)
  stack = nn.StackConfig(
    mixers[0],
    d_model=8,
    num_layers=len(mixers),
    hybrid={name: {} for name in mixers[1:]},
    dtype="float64",
  )
  vocab = networks.VOCAB
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), vocab, vocab)
  variables = jax.tree.map(lambda x: 2 * np.asarray(x, "float64"), variables)
  rows, differences = _differences(network, variables, stop=(2, 5))
  assert np.abs(differences).max() < 1e-10
  # An answer ends with its first stop token.
  stops = np.isin(rows.tokens, (2, 5))
  before = np.cumsum(stops, axis=1) - stops
  np.testing.assert_array_equal(rows.mask, before == 0)
  tokens, _ = generation.generate(
    network,
    variables,
    np.random.default_rng(0).integers(vocab, size=(ROWS, 5)),
    TIME,
    jax.random.key(1),
    stop=(2, 5),
  )
  np.testing.assert_array_equal(rows.tokens, tokens)


def _family(name, dtype="float32"):
  """A pretrained network whose numbers are of a dtype."""
  # One family's files ask for more than a test has room for.
  options = {"context": 64} if name == "qwen3_5" else {}
  config, variables = huggingface.load(BASES / name, **options)
  stack = dataclasses.replace(config.stack, dtype=dtype)
  config = dataclasses.replace(config, stack=stack)
  variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), variables)
  return huggingface.make_network(config, variables), variables


@pytest.mark.slow
@pytest.mark.parametrize("name", ["falcon_h1", "qwen3_next", "rwkv"])
@pytest.mark.usefixtures("x64")
def test_families_in_float64(name):
  _, differences = _differences(*_family(name, "float64"))
  assert differences.dtype == np.float64
  assert np.abs(differences).max() < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["falcon_h1", "qwen3_next", "rwkv"])
def test_families_in_bfloat16(name):
  _, differences = _differences(*_family(name, "bfloat16"))
  largest = np.abs(differences).max()
  ratio = np.abs(np.exp(differences) - 1).mean()
  print(f"{name}: {largest:.3f} nats at most, {ratio:.5f} of ratios to 1")
  # A number of bfloat16 has 8 bits, and each layer rounds to them anew.
  assert ratio < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_in_float32(name):
  _, differences = _differences(*_family(name))
  assert np.abs(differences).max() < 2e-4
  # Of ratios of probabilities, before anything was trained.
  assert np.abs(np.exp(differences) - 1).mean() < 1e-5
