"""Language models of files on the disk: rows, losses, exact resumption."""

import os
import struct

import jax
import numpy as np
import pytest

from configs.language_model import token_file as config_file
from jaxseq import data
from jaxseq.data import token_file
from jaxseq.programs import language_model
from jaxseq.tasks import language
from jaxseq.tasks.language import token_rows
from jaxseq.training import configuration
from jaxseq.training import errors
from tests import programs

LENGTHS = np.random.default_rng(0).integers(1, 30, 60)


@pytest.fixture(name="path")
def write(tmp_path):
  rng = np.random.default_rng(1)
  texts = [rng.integers(1, 9, count) for count in LENGTHS]
  token_file.write(tmp_path / "a", texts, np.uint8)
  return tmp_path / "a"


def make(path, documents=False, **fields):
  """The config and its only arm."""
  config = configuration.updated(
    config_file.get_config("tiny"),
    data_options={
      "path": str(path),
      "vocab_size": 9,
      "documents": documents,
      "valid_fraction": 0.1,
      "test_fraction": 0.1,
    },
    valid_tokens=32,
    **fields,
  )
  splits = config.load()
  arms = language_model.TASK.arms(config, language.from_splits(splits))
  return config, arms["gru"]


@pytest.mark.parametrize(
  "documents", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(path, documents):
  """With other chunks, too: they are no part of a run's numbers."""
  config, arm = make(path, documents)
  program = arm.program(config)
  state = program.init()
  for _ in range(2):
    state, metrics = program.chunk(state, 2)
  program.close()
  other = configuration.updated(config, updates_per_chunk=1)
  stopped, rest = arm.program(config), arm.program(other)
  saved, _ = stopped.chunk(stopped.init(), 2)
  stopped.close()
  saved = jax.tree.map(np.asarray, jax.device_get(saved._replace(key=None)))
  saved = saved._replace(key=state.key)
  for _ in range(2):
    saved, last = rest.chunk(saved, 1)
  rest.close()
  assert int(saved.update[0]) == 4
  for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(saved)):
    if not jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
      np.testing.assert_array_equal(one, two)
  assert np.isfinite(last["loss"]).all()
  assert np.isfinite(metrics["loss"]).all()


def test_another_file_is_an_error(path):
  config, arm = make(path)
  program = arm.program(config)
  state = program.init()
  texts = [np.arange(1, 9)] * 60
  token_file.write(path, texts, np.uint8)
  config, arm = make(path)
  with pytest.raises(
    errors.UserError, match="the data: got a file with digest"
  ):
    arm.program(config).chunk(state, 2)


def test_the_loss_is_that_of_documents_alone(path):
  _, arm = make(path, True, length=40, network={"stack": {"dropout": 0.0}})
  problem = arm.problem
  variables = jax.jit(problem.init)(jax.random.key(0))
  rows = problem.rows.rows(0, range(2))
  key = jax.random.key(0)
  value, _ = jax.jit(problem.loss)(variables, rows, problem.carry, key)
  apply = jax.jit(lambda tokens: problem.network.apply(variables, tokens)[0])
  nats, count = 0.0, 0
  for tokens, targets, reset, weight in zip(*rows):
    ends = [*np.flatnonzero(reset), len(reset)]
    for first, last in zip(ends, ends[1:]):
      alone = np.zeros((1, 40), np.int32)
      alone[0, : last - first] = tokens[first:last]
      logs = jax.nn.log_softmax(apply(alone)[0, : last - first])
      scored = (
        weight[first:last]
        * (np.asarray(logs)[np.arange(last - first), targets[first:last]])
      )
      nats, count = nats - scored.sum(), count + weight[first:last].sum()
  # Of float32, added in another order.
  np.testing.assert_allclose(value, nats / count, rtol=1e-5)
  bits = problem.validate(variables, problem.data)["bits_per_token"]
  # About those of nine tokens that are alike.
  assert 2 < bits < 5


def test_what_a_file_on_disk_cannot_have_is_refused(path):
  with pytest.raises(ValueError, match="jump_every: got 3, expected None, as"):
    make(path, jump_every=3)
  with pytest.raises(
    ValueError, match="dynamic: got .*, expected none, as its"
  ):
    make(path, dynamic={"learning_rate": 0.1})


def test_plans_of_documents_take_a_file(path):
  from experiments.documents import documents

  splits = data.load("token_file", path=path, vocab_size=9)
  corpus = language.from_splits(splits)
  assert isinstance(corpus.train, token_rows.Documents)
  pieces = documents.from_text(corpus.train, 9)
  assert pieces.lengths.max() == 9
  assert pieces.lengths.sum() == len(corpus.train.tokens) + len(pieces.lengths)


@pytest.mark.slow
def test_a_file_of_four_gigabytes_needs_no_memory(tmp_path):
  count, each = 2**20, 2**11
  head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 8, count, count + 1)
  with open(tmp_path / "a.idx", "wb") as index:
    index.write(head)
    index.write(np.full(count, each, "<i4").tobytes())
    index.write((np.arange(count, dtype="<i8") * each * 2).tobytes())
    index.write(np.arange(count + 1, dtype="<i8").tobytes())
  with open(tmp_path / "a.bin", "wb") as file:
    os.truncate(file.fileno(), count * each * 2)
  options = {
    "config": "configs/language_model/token_file.py:tiny",
    "workdir": tmp_path / "run",
    "length": 5,
    "config.data_options.path": tmp_path / "a.bin",
    "config.data_options.vocab_size": 256,
    "config.data_options.valid_fraction": 1e-6,
    "config.data_options.test_fraction": 1e-6,
    "config.length": 256,
    "config.num_updates": 60,
    "config.updates_per_chunk": 20,
  }
  argv = ["language_model", *(f"--{k}={x}" for k, x in options.items())]
  done = programs.run(
    "-c",
    "import resource, sys, json, atexit\n"
    f"sys.argv = {argv!r}\n"
    "atexit.register(lambda: print('peak', resource.getrusage("
    "resource.RUSAGE_SELF).ru_maxrss))\n"
    "from experiments import language_model\n"
    "from jaxseq.training import app\n"
    "app.run_main(language_model.main)\n",
  )
  assert done.returncode == 0, done.stderr
  peak = int(done.stdout.split("peak ")[1].split()[0])
  # Of which Python and JAX take two thirds.
  assert peak < 600 * 1024
