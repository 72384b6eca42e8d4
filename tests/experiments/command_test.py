"""The command `jaxseq`, on files of one's own."""

import dataclasses
import importlib
import inspect
import re

from absl import flags
import pytest

from jaxseq import data
from jaxseq.programs import command
from jaxseq.programs import own_data
from jaxseq.programs import own_files
from jaxseq.tasks import lines
from jaxseq.training import app
from jaxseq.training import configuration
from tests import programs
from tests.experiments import programs as experiments

_SMALL = [
  "--config.num_updates=4",
  "--config.updates_per_chunk=2",
  "--config.batch_size=2",
  "--config.num_seeds=1",
  "--config.optimizer.warmup_steps=0",
  "--config.network.stack.d_model=4",
]


def run(*arguments):
  return programs.run("-m", "jaxseq", *arguments)


def call(monkeypatch, *arguments):
  """Runs a command line in this process."""

  def run_main(main, argv):
    del main
    experiments.call_with(monkeypatch, arguments[1], argv)

  monkeypatch.setattr(app, "run_main", run_main)
  command.main(["jaxseq", *arguments])


def write_table(path, first):
  rows = [
    f"{series},{series % 2 + time},{'ab'[series % 2]}"
    for series in range(first, first + 20)
    for time in range(3)
  ]
  path.write_text("\n".join(["id,x,label", *rows, ""]))


def test_train_evaluate_and_predict(tmp_path, monkeypatch, capsys):
  data, new, output = (tmp_path / n for n in ("a.csv", "b.csv", "out.csv"))
  write_table(data, 0)
  write_table(new, 100)
  place = f"--workdir={tmp_path / 'run'}"
  shared = ["classify", place, f"--data={data}", "--arms=gru", *_SMALL]
  call(monkeypatch, "train", *shared)
  assert "accuracy on the test set" in capsys.readouterr().out
  assert (tmp_path / "run" / "gru" / "model.safetensors").is_file()
  call(monkeypatch, "evaluate", *shared)
  assert "accuracy" in capsys.readouterr().out
  call(
    *(monkeypatch, "predict", "classify", place),
    *(f"--data={new}", f"--output={output}"),
  )
  assert len(output.read_text().splitlines()) == 21


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "got '', expected jaxseq train|evaluate|predict|serve|tokenize: try"),
    (["learn"], "got 'learn', expected jaxseq train|"),
    (["train"], "jaxseq train: got '', expected one of adapt, classify"),
    (
      ["train", "speak"],
      "jaxseq train: got 'speak', expected one of adapt, classify",
    ),
    (["train", "events"], "--workdir is required"),
    (["train", "events", "--workdri=w"], "Unknown command line flag 'workdri'"),
    (["serve", "here"], "unexpected argument 'here'"),
  ],
)
def test_wrong_command_lines(arguments, message):
  done = run(*arguments)
  assert done.returncode == 2
  assert done.stderr.startswith(f"error: {message}")
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ("train event", "(did you mean 'events'?)\n"),
    ("predict icrl_suite", "(icrl_suite has no predict)\n"),
    (
      "train compare --data=sets.csv",
      "give --config=FILE.py --config.data_options.path=PATH\n",
    ),
  ],
)
def test_wrong_command_lines_have_a_way_out(arguments, message, capsys):
  with pytest.raises(SystemExit):
    command.main(["jaxseq", *arguments.split()])
  assert capsys.readouterr().err.endswith(message)


def test_values_of_flags_may_stand_behind_them():
  one = command.with_config("classify", ["jaxseq", "--data=a.npz"])
  assert one[1].endswith("own_files.py:classify.npz")
  assert one[2:] == ["--config.data_options.path=a.npz"]
  assert one == command.with_config("classify", ["jaxseq", "--data", "a.npz"])
  for given in (["--workdir", "data"], ["--config", "mine.py"]):
    found = command.with_config("classify", ["jaxseq", *given])
    assert found[-2:] == given
    assert len(found) == (3 if "--config" in given else 4)


def test_a_quick_check_needs_no_config(capsys):
  arguments = ["jaxseq", "--data=a.npz", "--tiny"]
  one = command.with_config("classify", arguments)
  assert one[1].endswith("own_files.py:classify.npz.tiny")
  assert "--tiny" not in one
  with pytest.raises(SystemExit):
    command.with_config("classify", [*arguments, "--config=mine.py"])
  assert "--tiny: got --config, too" in capsys.readouterr().err


def test_help_has_the_options_of_the_file_that_is_named(capsys):
  for given, kind, others in (
    ([], "table", ".npz, .ts, folders"),
    (["--data=a.npz"], "npz", ".ts, folders, other files"),
  ):
    with pytest.raises(SystemExit):
      command.main(["jaxseq", "train", "classify", *given, "--help"])
    out = capsys.readouterr().out
    assert out.count("Options of classify's data") == 1
    assert f"Options of classify's data {kind!r}" in out
    assert f"Those of {others}: jaxseq train classify" in out
    assert "see above" not in out
    flags.FLAGS["override"].unparse()


def test_the_version(capsys):
  with pytest.raises(SystemExit) as left:
    command.main(["jaxseq", "--version"])
  assert left.value.code == 0
  assert capsys.readouterr().out.startswith("jaxseq 0.")


def test_help_of_a_verb_names_its_tasks(capsys):
  with pytest.raises(SystemExit) as left:
    command.main(["jaxseq", "predict", "--help"])
  assert left.value.code == 0
  told = capsys.readouterr().out
  assert "jaxseq predict TASK, of " in told
  assert "temporal_graph" in told.splitlines()[-1]


def test_help_tells_of_the_tasks():
  done = run("--help")
  assert done.returncode == 0
  missing = [task for task in lines.LINES if task not in done.stdout]
  assert not missing, (
    f"`jaxseq --help` does not name {missing}. Add them to the docstring of "
    "jaxseq/programs/command.py"
  )
  for arguments in (["train", "events"], ["serve"]):
    done = run(*arguments, "--help")
    assert done.returncode == 0
    assert "jaxseq train classify" in done.stdout
    # Of every option of the data there is a line.
    for option in inspect.signature(data.loader("event_table")).parameters:
      told = f"\n    {option}" in done.stdout
      assert told == (arguments != ["serve"] and option != "seed"), option


@pytest.mark.parametrize(
  "kind",
  sorted(
    {kind for each in lines.LINES.values() for kind in each.data.values()}
  ),
)
def test_every_option_of_data_has_words(kind):
  told = own_data.described(kind).splitlines()
  heads = [line for line in told if line[:4].isspace() and line[4] != " "]
  assert heads
  for line in heads:
    assert re.match(r"    \w+(=.*)?: ", line), line


def test_lengths_of_forecasts_are_those_of_the_config():
  config = own_files.get_config("forecast.forecast_table")
  options = {**config.data_options, "horizon": 5}
  message = "data_options.horizon: got 5, expected none: the config has its own"
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(config, data_options=options)


@pytest.mark.parametrize("tiny", ["", ".tiny"])
@pytest.mark.parametrize("variant", own_files.VARIANTS)
def test_every_config_is_one_of_its_task(variant, tiny):
  variant += tiny
  task = variant.partition(".")[0]
  module = importlib.import_module(lines.LINES[task].body)
  config = configuration.from_config_dict(
    module.Config, own_files.get_config(variant)
  )
  # What is kept of a run on people's own files is the best on validation.
  assert config.early_stopping is None
  for arm in config.arms:
    module.TASK.arm_config(config, arm)


def test_every_experiment_is_a_task_of_the_command():
  folder = programs.ROOT / "experiments"
  files = {file.stem for file in folder.glob("[!_]*.py")}
  # Some are folders, with what only reproduces a paper on top of the task.
  files |= {x for x in lines.LINES if (folder / x / "__main__.py").exists()}
  missing = files ^ {*lines.LINES, "serve"}
  assert not missing, (
    f"{missing}: in experiments/ or in LINES of jaxseq/tasks/lines.py alone. "
    "Add the file experiments/NAME.py, or the line of that name"
  )
