"""Every supervised binary from start to end, at a size that learns nothing."""

import importlib
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from experiments.synthetic import task as synthetic
from jaxseq.interop import network_file
from jaxseq.rl import conditioned_players
from jaxseq.training import errors
from jaxseq.training import scalars
from jaxseq.training.comparison import supervised_arms
from tests.experiments import programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Those that compare networks on a supervised problem, without two that have
# tests and flags of their own.
EXPERIMENTS = [
  name
  for name in programs.experiments(supervised_arms.Supervised)
  if name not in ("documents", "language_model")
]
# What differs between two runs with the same numbers.
CLOCK = (
  *scalars.WALL_CLOCK_FIELDS,
  *("seconds", "updates_per_second", "tokens_per_cpu_second"),
)

# Configs that need no package and few seconds, where the first one does.
CONFIGS = {
  "compare": "mnist1d",
  "classify": "mnist1d",
  "dts": "quick",
  "forecast": "hourly",
}
# What the runs of some experiments draw and print besides.
PICTURES = {
  "forecast": ("horizons.png", "forecasts.png"),
  "decision": ("returns.png",),
  "in_context": ("trials.png",),
  "pictures": ("gru/samples.png",),
  "masked_language": ("structformer/trees.png",),
  "continual": ("accuracies_class.png", "accuracies_task.png"),
  "dts": (
    "information.png",
    "metrics.png",
    "vae/traversal.png",
    "vae/information_map.png",
  ),
}
TABLES = {
  "classify": "accuracy",
  "continual": "nearest exemplar",
  "synthetic": "copying, accuracy under other options",
  "compare": "state (bytes)",
  "pictures": "histogram of each place",
  "pointing": "hull, by the size of sets",
  "forecast": "seasonal naive-8",
  "events": "true process",
  "masked_language": "letters by frequency",
  "recommend": "most popular",
  "segmentation": "cosine of words",
  "temporal_graph": "co-occurrence",
  "adapt": "before",
  "decision": "recorded: expert",
  "in_context": "optimal",
  "dts": "nats per test window",
}


def tiny(experiment):
  """The first config of an experiment with a tiny variant that has its data."""
  if experiment in CONFIGS:
    return CONFIGS[experiment]
  without = []
  for path in sorted((ROOT / "configs" / experiment).glob("[!_]*.py")):
    if "tiny" not in path.read_text():
      continue
    module = importlib.import_module(f"configs.{experiment}.{path.stem}")
    config = module.get_config("tiny")
    read = getattr(config, "data_options", {}).get("path")
    if read is None or (ROOT / read).exists():
      return path.stem
    without.append(f"{path.name} reads {read}")
  pytest.fail(
    f'configs/{experiment} has no file whose variant "tiny" has its data '
    f"({', '.join(without) or 'no file has one'}). Add a generated data set to "
    "jaxseq/data, and a config of it with a variant tiny."
  )


def first_arm(experiment, config):
  module = importlib.import_module(f"configs.{experiment}.{config}")
  return sorted(module.get_config("tiny").arms)[0]


@pytest.fixture
def run(monkeypatch, capsys):
  """Runs an experiment in this process; returns what it printed."""

  def call(experiment, workdir, *more, config=None):
    programs.call(
      monkeypatch,
      experiment,
      f"configs/{experiment}/{config or f'{tiny(experiment)}.py:tiny'}",
      workdir,
      "--config.num_seeds=1",
      "--config.chunks_per_checkpoint=1",
      "--config.tensorboard=False",
      *more,
    )
    return capsys.readouterr().out

  return call


def without_clock(value):
  if isinstance(value, dict):
    return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
  if isinstance(value, list):
    return [without_clock(item) for item in value]
  return value


def results(workdir):
  return without_clock(json.loads((workdir / "results.json").read_text()))


# What these do beyond `classify` has tests of its own.
_SLOW = (
  *("compare", "continual", "decision", "dts", "events", "forecast"),
  *("adapt", "group_policy", "masked_language", "next_element", "pointing"),
  *("pictures", "recommend", "segmentation", "synthetic", "temporal_graph"),
  "in_context",
)


@pytest.mark.parametrize(
  "experiment",
  [
    pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name
    for name in EXPERIMENTS
  ],
)
def test_a_run_its_continuation_and_its_evaluation(run, tmp_path, experiment):
  whole = tmp_path / "whole"
  output = run(experiment, whole)
  table = TABLES.get(experiment, "")
  assert table in output
  for picture in ("learning_curve.png", *PICTURES.get(experiment, ())):
    assert (whole / picture).read_bytes().startswith(b"\x89PNG"), picture
  # What is no arm, such as baselines, has no folder.
  trained = {k: v for k, v in results(whole).items() if (whole / k).is_dir()}
  assert trained
  for arm, found in trained.items():
    rows = without_clock(scalars.read(whole / arm))
    last = rows[-1]["step"]
    assert rows[0]["step"] < last
    metrics = {name for name in found if rows[-1].get(name) == found[name]}
    assert metrics, f"no metric of {arm} is in its results"
    for name in metrics:
      assert np.isfinite(found[name]).all(), name

  # As if the run had been killed between its two checkpoints.
  part = tmp_path / "part"
  shutil.copytree(whole, part)
  (part / "results.json").unlink()
  for directory in part.glob(f"*/checkpoints/{last}"):
    shutil.rmtree(directory)
  run(experiment, part)
  assert results(part) == results(whole)
  assert without_clock(scalars.read(part / arm)) == rows

  before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
  shown = run(experiment, whole, "--mode=evaluate")
  # The table is of the test part, where the curve is of the validation part.
  names = {name.removeprefix("valid_") for name in metrics}
  metrics = (names | {f"test_{name}" for name in names}) & found.keys()
  assert any(f"{found[name][0]:.3f}" in shown for name in metrics)
  assert table in shown
  files = [path for path in before if path.is_file()]
  assert all(path.stat().st_mtime_ns == before[path] for path in files)


@pytest.mark.slow
def test_a_decision_network_is_left_and_plays(run, tmp_path):
  run("decision", tmp_path)
  for arm, found in results(tmp_path).items():
    if not (tmp_path / arm).is_dir():
      continue
    player = conditioned_players.load(tmp_path / arm / "player.safetensors")
    assert player.conditioned == (arm != "cloning")
    # Two episodes for each return, with the key of the evaluation.
    asked = np.repeat([10.0, 20.0], 2)
    returns = conditioned_players.play(player, jax.random.key(0), asked)
    np.testing.assert_allclose(
      np.reshape(returns, (2, 2)).mean(axis=1),
      [found["return_10"][0], found["return_20"][0]],
    )


@pytest.mark.slow
def test_a_network_of_signals_is_left(monkeypatch, tmp_path):
  config = tmp_path / "signals.py"
  config.write_text(
    "import dataclasses\n"
    "from configs.synthetic import copying\n"
    "def get_config():\n"
    "  config = copying.get_config('tiny')\n"
    "  fields = {'num_seeds': 1, 'tensorboard': False, 'test_options': {}}\n"
    "  fields['task_options'] = {'length': 16, 'delay': 2}\n"
    "  return dataclasses.replace(config, task='delay', **fields)\n"
  )
  workdir = tmp_path / "run"
  programs.call(monkeypatch, "synthetic", config, workdir)
  ((arm, found),) = results(workdir).items()
  network, variables = network_file.load(workdir / arm / "network.safetensors")
  arm_config = synthetic.ArmConfig(network.config, batch_size=4)
  problem = synthetic.Problem(
    arm_config, "delay", {"length": 16, "delay": 2}, test_batches=1
  )
  error = jax.jit(problem.evaluate)(variables, None)["test_loss"]
  np.testing.assert_allclose(error, found["test_loss"][0], rtol=1e-5)


@pytest.mark.slow
def test_pairs_of_texts(run, tmp_path, monkeypatch):
  """The Long Range Arena's Retrieval, from files, with its own recipe."""
  rng = np.random.default_rng(0)
  for part, count in (("train", 12), ("eval", 5), ("test", 7)):
    rows = []
    for number in range(count):
      first, second = ("ab " * length for length in rng.integers(0, 9, 2))
      rows.append(f"{number % 2}.0\tP{number}\tQ{number}\t{first}\t{second}\n")
    path = tmp_path / f"new_aan_pairs.{part}.tsv"
    path.write_text("".join(rows))
  config = "lra.py:retrieval"
  sizes = {
    "data_options.path": tmp_path,
    "data_options.max_length": 20,
    "num_updates": 4,
    "updates_per_chunk": 2,
    "chunks_per_evaluation": 1,
    "batch_size": 4,
    "network.stack.d_model": 8,
    "network.stack.num_layers": 1,
    "arms.s5.network.stack.mixer_options.ssm_size": 16,
    "arms.s5.network.stack.mixer_options.blocks": 2,
    "optimizer.warmup_steps": 1,
  }
  options = [f"--config.{name}={value}" for name, value in sizes.items()]
  workdir = tmp_path / "run"
  output = run("classify", workdir, *options, config=config)
  assert "pairs/s" in output
  found = results(workdir)["s5"]
  (accuracy,) = found["accuracy"]
  assert accuracy in np.float32(np.arange(8) / 7)
  assert np.isfinite(found["test_loss"]).all()
  (tmp_path / "new_aan_pairs.eval.tsv").unlink()
  with pytest.raises(errors.UserError, match="eval.tsv is not a file"):
    run("classify", tmp_path / "absent", *options, config=config)


@pytest.mark.slow
def test_codes_of_two_domains(run, tmp_path, monkeypatch):
  """From one arm to the other, with recordings as seglearn has them."""
  pytest.importorskip("sklearn")
  folder = tmp_path / "seglearn"
  (folder / "data").mkdir(parents=True)
  (folder / "__init__.py").touch()
  monkeypatch.syspath_prepend(str(tmp_path))
  rng = np.random.default_rng(0)
  means = 5 * rng.normal(size=(7, 6))
  y, subject, side = np.meshgrid(range(7), [1, 2], [0, 1], indexing="ij")
  content = {
    "X": [rng.normal(size=(300, 6)) + means[k] for k in y.ravel()],
    "y_labels": list("ABCDEFG"),
    "y": y.ravel(),
    "subject": subject.ravel(),
    "side": side.ravel(),
  }
  file = folder / "data" / "watch_dataset.npy"
  np.save(file, np.array(content, object))
  config = "watch_adaptation.py:tiny"
  workdir = tmp_path / "run"
  output = run("dts", workdir, config=config)
  assert "watch: nats per test window" in output
  assert "probes of domain (D) and class (C)" in output
  found = results(workdir)
  assert set(found) == {"source_only", "dts"}
  for arm, row in found.items():
    # Five windows of each of the other arm's 14 recordings.
    right = 70 * np.array(row["test_accuracy"])
    np.testing.assert_allclose(right, np.round(right), atol=1e-4)
    assert set(row["probes"]) == {"g_y", "g_d"}
    (seed,) = json.loads((workdir / arm / "probes.json").read_text())
    assert seed["g_d"]["Acc/D-T"] == row["probes"]["g_d"]["Acc/D-T"][0]
    # The classes differ by their means, which are statistics. Chance is 1/7,
    # with a standard deviation of 0.04.
    assert row["class in g_y"][0] > 0.25
  shown = run("dts", workdir, "--mode=evaluate", config=config)
  accuracy = found["dts"]["test_accuracy"][0]
  assert f"{accuracy:.3f}" in shown
  shutil.rmtree(workdir / "source_only" / "checkpoints")
  shown = run("dts", workdir, "--mode=evaluate", config=config)
  assert "Left out, without a checkpoint: source_only." in shown
  assert f"{accuracy:.3f}" in shown
  file.unlink()
  with pytest.raises(errors.UserError, match="pip install --no-deps seglearn"):
    run("dts", tmp_path / "absent", config=config)


@pytest.mark.parametrize(
  "experiment",
  [
    # It writes and reads a network before it sees the fields of its arms.
    pytest.param(name, marks=pytest.mark.slow) if name == "adapt" else name
    for name in EXPERIMENTS
  ],
)
def test_wrong_fields_get_one_sentence(run, tmp_path, experiment):
  arm = first_arm(experiment, tiny(experiment))
  wrong = (f"arms.{arm}.network.stack.mixer=gruu", "gruu")
  if experiment == "dts":
    wrong = (f"arms.{arm}.objective.method=vea", "method.*'vea'")
  for override, message in (
    ("num_updtes=3", "no field 'num_updtes'.*did you mean 'num_updates'"),
    wrong,
    (f"arms.{arm}.batch_sise=3", "batch_sise.*did you mean 'batch_size'"),
  ):
    with pytest.raises(errors.UserError, match=message):
      run(experiment, tmp_path / "absent", f"--config.{override}")
  with pytest.raises(errors.UserError, match="absent"):
    run(experiment, tmp_path / "absent", "--mode=evaluate")
  assert not (tmp_path / "absent").exists()


@pytest.mark.slow
def test_language_model(tmp_path):
  """In processes of its own: its flags are others."""
  workdir = tmp_path / "run"

  def call(*more):
    config = "configs/language_model/kjv.py:tiny"
    more = "--config.tensorboard=False", *more
    return programs.start("language_model", config, workdir, *more)

  done = call("--length=5")
  assert done.returncode == 0, done.stderr
  assert "whole test text" in done.stdout
  assert "--- gru (seed 0)" in done.stdout
  assert (workdir / "learning_curve.png").is_file()
  (bits,) = results(workdir)["gru"]["test_bits"]
  # Untrained: near the 8 bits of a uniform guess.
  assert 6 < bits < 12
  shown = call("--mode=generate", "--prompt=import", "--length=5")
  assert shown.returncode == 0, shown.stderr
  assert "\nimport" in shown.stdout
