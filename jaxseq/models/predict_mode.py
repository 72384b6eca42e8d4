r"""The mode "predict" of experiments: predictions of a trained arm for a file.

    python -m experiments.NAME --workdir=DIR --mode=predict \
      --data=new.csv --output=predictions.csv

It reads the run's model file, but neither the training data nor a checkpoint.
If a config is given, it must be that of the run.
"""

import functools
from typing import Any

from absl import flags

from jaxseq.training import errors
from jaxseq.training.comparison import experiment

# `--help` lists the flags under the program.
flags.disclaim_key_flags()


@functools.cache
def define_flags() -> tuple[flags.FlagHolder, ...]:
  """Defines the flags of the mode; returns holders of data, output and arm."""
  return (
    flags.DEFINE_string(
      "data",
      None,
      "with --mode=predict, the file to predict, of the same form as the "
      "training data; with --mode=serve_stream, the events",
    ),
    flags.DEFINE_string(
      "output",
      None,
      "with --mode=predict, the file to write, which must not be there yet: "
      "NAME.csv or NAME.parquet; with --mode=serve_stream, lines of JSON",
    ),
    flags.DEFINE_string(
      "arm",
      None,
      "with --mode=predict or serve_stream, which arm of the run; needed if it "
      "has several",
    ),
  )


def predicts(program: experiment.Experiment) -> bool:
  """Predicts if the program's mode is "predict".

  Args:
    program: an experiment with the mode "predict".

  Returns:
    Whether it predicted.

  Raises:
    UserError: if a flag is missing or has no effect in the mode; there is no
      model; the file does not fit it; or the output cannot be written.
  """
  # Slow imports that the flags do not need.
  from jaxseq.models import predictions
  from jaxseq.training import compile_cache

  holders = define_flags()
  source, output, arm = (holder.value for holder in holders)
  if program.mode != "predict":
    for holder in holders:
      if holder.value is not None:
        raise errors.UserError(f"--{holder.name} is a flag of --mode=predict")
    return False
  with errors.setup():
    for name, value in (("data", source), ("output", output)):
      if not value:
        raise errors.UserError(f"--{name}=FILE is missing")
    predictions.check_output(output)
    compile_cache.enable()
    model = model_of(program, arm)
    examples = model.examples(source)
    try:
      rows = model.predict(examples)
    except ValueError as error:
      raise ValueError(f"{source}: {error}") from error
    rows.write(output)
  about = model.about
  print(
    f"{rows.num_rows:,} {'row' if rows.num_rows == 1 else 'rows'} by "
    f"{about.get('arm')} (seed {about.get('seed')}, {about.get('chosen_by')}): "
    f"{output}"
  )
  return True


def model_of(program: experiment.Experiment, arm: str | None) -> Any:
  """Returns the model of a run's arm, or of its only arm.

  Raises:
    UserError: if there is no model, or it is of another experiment.
  """
  from jaxseq.models import model_file
  from jaxseq.models import run_models

  directory = program.directory
  if program.has_config:
    with program.setup() as config:
      directory = program.open_directory(config)
  model = model_file.load(run_models.find(directory, arm))
  made_by = model.about.get("experiment", program.name)
  if made_by != program.name:
    raise errors.UserError(
      f"{str(directory)!r} holds a model of experiments.{made_by}, none of "
      f"experiments.{program.name}"
    )
  return model
