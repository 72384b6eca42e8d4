"""Every extra of the wheel, installed by pip into an environment of its own.

`make test-wheel` runs this: it downloads what the extras need, and each
environment is removed when its test is over.
"""

import pathlib
import re
import shutil
import sys
import tomllib
import venv

import pytest

from tests import wheels

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(1800)]

_PROJECT = tomllib.loads((wheels.ROOT / "pyproject.toml").read_text())
# Tools of those who work on the project.
_TOOLS = ("dev", "docs")
EXTRAS = [
  name
  for name in _PROJECT["project"]["optional-dependencies"]
  if name not in _TOOLS
]
# What each extra is for: a program that ends without an error with it.
USES = {
  "atari": """
import jax
from jaxseq.rl import envs
env, params = envs.make("Pong-Atari")
observation, _ = env.reset(jax.random.key(0), params)
assert observation.any()
""",
  "chats": """
import json
import pathlib
from jaxseq.data import chats
model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
written = {"version": "1.0", "model": model}
pathlib.Path("tokenizer.json").write_text(json.dumps(written))
template = "{% for m in messages %}{{ m.content }}{% endfor %}"
pathlib.Path("tokenizer_config.json").write_text(
  json.dumps({"chat_template": template}))
chat = {"role": "user", "content": "b"}
assert chats.read_template(".").encode([chat]) == [1]
""",
  "data": """
from jaxseq import data
assert len(data.load("digits").train.inputs) > 1000
assert len(data.load("mnist_subset").train.inputs) == 4000
""",
  "dts": """
import numpy as np
from jaxseq.dts import metrics
rng = np.random.default_rng(0)
factors = rng.integers(3, size=(200, 2))
found = metrics.learned(factors[:100] * 1.0, factors[:100],
                        factors[100:] * 1.0, factors[100:], trees=2)
assert found["dci_disentanglement"] > 0.5, found
""",
  "equinox": """
import jax
from jaxseq import mixers
from jaxseq.nn import for_equinox
mixer = for_equinox.SequenceMixer(
  mixers.make_config("gru", d_model=4), key=jax.random.key(0))
assert mixer(jax.numpy.ones((3, 4)))[0].shape == (3, 4)
""",
  "estimators": """
import numpy as np
from jaxseq import estimators
x = np.arange(40.0).reshape(10, 4)
made = estimators.SequenceClassifier("gru", d_model=4, num_updates=2)
assert made.fit(x, np.arange(10) % 2).predict(x).shape == (10,)
""",
  "export": """
import jax
made = jax.export.export(jax.jit(jax.numpy.sin))(jax.numpy.ones(3))
assert jax.export.deserialize(made.serialize()).call(jax.numpy.ones(3)).all()
""",
  "interop": """
import numpy as np
from jaxseq.interop import safetensors_file
safetensors_file.write("a.safetensors", {"a": np.ones(3)})
assert safetensors_file.read("a.safetensors")["a"].shape == (3,)
""",
  "log": """
import pathlib
from absl import logging
from jaxseq.training import figures
from jaxseq.training import plots
from jaxseq.training import scalars
import numpy as np
logging.use_absl_handler()
assert plots.learning_curve("a.png", {"a": ([1, 2], [3, 4])})
figures.write_gif("a.gif", [np.zeros((4, 4, 3), np.uint8)], [1.0])
with scalars.MetricWriter("run") as writer:
  writer.write(1, {"loss": 1.0})
assert list(pathlib.Path("run/tensorboard").iterdir())
""",
  "onnx": """
import jax
import onnxruntime
from jaxseq.interop import onnx_graph
shape = jax.ShapeDtypeStruct((2, 3), "float32")
graph = onnx_graph.convert(lambda x: [2 * x], [shape], ["x"], ["y"])
session = onnxruntime.InferenceSession(graph.SerializeToString())
assert (session.run(["y"], {"x": [[1, 2, 3]] * 2})[0] == [2, 4, 6]).all()
""",
  "planner": """
from jaxseq import planner
cost = planner.CostModel("recurrent", token_seconds=1e-3, row_overhead=2e-3,
                         state_bytes=1e5, bandwidths=(1e8, 1e8))
found = planner.plan([30, 20, 5, 3], 4, cost, 16, method="milp")
assert found.rows
""",
  "rna": """
import RNA
assert RNA.fold("GGGAAAACCC")[0].count("(") == 3
""",
  "serve": """
import jax
from jaxseq import generation, nn
from jaxseq.generation import engine_thread, server
network = nn.SequenceNetwork(nn.NetworkConfig(nn.StackConfig("gru")), 256, 256)
variables = network.init(jax.random.key(0), jax.numpy.zeros((1, 1), int))
worker = engine_thread.EngineThread(generation.Engine(network, variables))
server.make_app(worker, generation.Codec())
import uvicorn
""",
  "table": """
from jaxseq.models import predictions
predictions.Predictions({"class": ["a", "b"]}).write("a.parquet")
from pyarrow import parquet
assert parquet.read_table("a.parquet").num_rows == 2
""",
  "playground": """
import jax
from jaxseq.rl import envs
env, params = envs.make("Playground-PendulumSwingup")
observation, _ = env.reset(jax.random.key(0), params)
assert observation.size
""",
  "brax": """
import jax
from jaxseq.rl import envs
env, params = envs.make("brax/inverted_pendulum", episode_length=5)
observation, _ = env.reset(jax.random.key(0), params)
assert observation.shape == (4,)
""",
  "craftax": """
import jax
from jaxseq.rl import envs
env, params = envs.make("craftax/Craftax-Classic-Symbolic-v1")
observation, _ = env.reset(jax.random.key(0), params)
assert observation.shape == (1345,)
""",
  "jaxmarl": """
import jax
from jaxseq.rl import envs
env, params = envs.make("jaxmarl/MPE_simple_spread_v3", agent="agent_1")
observation, _ = env.reset(jax.random.key(0), params)
assert observation.shape == (18,)
""",
  "navix": """
import jax
from jaxseq.rl import envs
env, params = envs.make("navix/Navix-Empty-5x5-v0", max_steps=5)
observation, _ = env.reset(jax.random.key(0), params)
assert jax.tree.leaves(observation)
""",
  "xminigrid": """
import jax
from jaxseq.rl import envs
env, params = envs.make("xminigrid/MiniGrid-EmptyRandom-5x5", max_steps=5)
observation, _ = env.reset(jax.random.key(0), params)
assert jax.tree.leaves(observation)
""",
  "tokenizers": """
import json
import pathlib
from jaxseq import data
model = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}
written = {"version": "1.0", "pre_tokenizer": {"type": "Whitespace"},
           "model": model}
pathlib.Path("tokenizer.json").write_text(json.dumps(written))
pathlib.Path("a.txt").write_text("a b b " * 100)
splits = data.load("text_files", path="a.txt", tokenizer="tokenizer.json")
assert splits.info.vocab_size == 2
""",
  "tokamax": """
import jax
import jax.numpy as jnp
from jaxseq.kernels.window import _gpu_tokamax
q = jnp.ones((2, 8, 1, 16), jnp.bfloat16)
start = jnp.zeros((2, 8), jnp.int32)
made = _gpu_tokamax.attend(True, False, 4, q, q, q, start)
assert made.shape == q.shape
""",
  "notebook": """
import nbclient
import nbformat
notebook = nbformat.v4.new_notebook(
  cells=[nbformat.v4.new_code_cell("import jaxseq; print(jaxseq.__file__)")])
nbclient.NotebookClient(notebook).execute()
assert "site-packages" in notebook.cells[0].outputs[0].text
""",
}
# What names an extra that lacks: a sentence of ours, or jax's own for `export`.
# Nothing lacks where the plain dependencies have it, too.
_SENTENCES = {
  name: rf"jaxseq\[{name}\]"
  for name in USES
  if name not in ("interop", "notebook", "planner")
} | {"export": "flatbuffers"}


def make_environment(folder: pathlib.Path, wheel: str) -> pathlib.Path:
  """Installs a wheel by pip into a fresh environment; returns its Python."""
  venv.create(folder, with_pip=False)
  python = folder / "bin" / "python"
  pip = [sys.executable, "-m", "pip", "--python", python, "--no-input"]
  quiet = ["--quiet", "--disable-pip-version-check", "--no-compile"]
  wheels.run(*pip, "install", *quiet, wheel, cwd="/", timeout=1500)
  # All that a distribution asks for is there, in a version that fits.
  wheels.run(*pip, "check", cwd="/", timeout=300)
  return python


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  return wheels.build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def folder(tmp_path):
  """A folder that does not outlive the test: environments are large."""
  yield tmp_path / "environment"
  shutil.rmtree(tmp_path / "environment", ignore_errors=True)


@pytest.fixture(scope="module")
def plain(wheel, tmp_path_factory):
  """The Python of an environment without any extra."""
  folder = tmp_path_factory.mktemp("plain")
  yield make_environment(folder, str(wheel))
  shutil.rmtree(folder)


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_it_is_for(extra, wheel, folder, tmp_path):
  assert extra in USES, f"say in {__file__} what {extra!r} is for"
  python = make_environment(folder, f"{wheel}[{extra}]")
  wheels.run(python, "-I", "-c", USES[extra], cwd=tmp_path, timeout=600)


@pytest.mark.parametrize("extra", _SENTENCES)
def test_without_an_extra_a_sentence_names_it(extra, plain, tmp_path):
  result = wheels.start(
    plain, "-I", "-c", USES[extra], cwd=tmp_path, timeout=300
  )
  assert result.returncode != 0
  assert re.search(_SENTENCES[extra], result.stderr), result.stderr


def test_a_notebook_starts_from_a_wheel_beside_it(wheel, folder, tmp_path):
  python = make_environment(folder, "ipykernel")
  pip = [sys.executable, "-m", "pip", "--python", python, "--no-input"]
  quiet = ["--quiet", "--disable-pip-version-check"]
  wheels.run(*pip, "install", *quiet, "nbclient", "pip", cwd="/", timeout=600)
  for file in (wheel, wheels.ROOT / "colabs" / "resettable_ssm.ipynb"):
    shutil.copy(file, tmp_path)
  code = """
import nbclient
import nbformat
notebook = nbformat.read("resettable_ssm.ipynb", 4)
nbclient.NotebookClient(notebook, timeout=1500).execute()
"""
  wheels.run(python, "-I", "-c", code, cwd=tmp_path, timeout=1700)
