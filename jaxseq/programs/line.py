"""The shared program of all tasks: load, train, measure, show, save."""

import functools

import jax
import numpy as np

from jaxseq.data import summaries
from jaxseq.interop import network_file
from jaxseq.models import model as models
from jaxseq.models import model_file
from jaxseq.models import predict_mode
from jaxseq.models import run_models
from jaxseq.models import stream_mode
from jaxseq.training import errors
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import report
from jaxseq.training.comparison import suite
from jaxseq.training.devices import placement
from jaxseq.training.devices import processes


def main(program: experiment.Experiment) -> None:
  """Runs the mode of the flags: trains, evaluates, predicts or generates."""
  if stream_mode.MODE in program.modes and stream_mode.serves(program):
    return
  if "predict" in program.modes and predict_mode.predicts(program):
    return
  body = program.body
  with program.setup() as config:
    if program.mode == "evaluate":
      program.open_directory(config)  # Raises if there is no run.
    if hasattr(body, "work"):
      work = body.work(config, program)
    else:
      work = body.TASK.work(config)
    directory = program.open_directory(config)
  if isinstance(work, suite.Suite):
    work.main(directory, program.mode)
    return
  work.begin(directory, program.mode)
  read = work.options.get("read")
  if program.mode == "train" and read and processes.is_first():
    print(summaries.text(read))
  results = {}
  if program.mode in ("train", "evaluate"):
    results = report.main(
      config,
      directory,
      work.arms,
      program.mode,
      each=functools.partial(_each, program, config, directory, work),
      **work.options,
    )
  work.show(directory, results)


def _each(program, config, directory, work, name, step, state, report):
  """Shows a measured arm, and saves its best seed after training."""
  work.each(directory, name, step, state, report)
  if program.mode != "train" or (work.kind, work.save) == (None, None):
    return
  variables = placement.gather(config.mesh, state.variables)
  if not processes.is_first():
    return
  seed, reason = run_models.choose_seed(
    report, config.num_seeds, work.arms[name]
  )
  about = {
    "experiment": program.name,
    "data": getattr(config, "data", None),
    "arm": name,
    "seed": seed,
    "chosen_by": reason,
    "step": step,
  }
  variables = jax.tree.map(np.asarray, work.select(variables, seed))
  with errors.setup():
    (work.save or functools.partial(_save, work))(
      directory, name, variables, about
    )


def _save(work, directory, name, variables, about):
  """Writes an arm's model, or its network if the task has no model kind."""
  problem, place = work.arms[name].problem, directory / name
  kind = getattr(problem, "kind", work.kind)
  if not kind:
    path = place / "network.safetensors"
    network_file.save(path, problem.network, variables)
    return
  splits = work.splits
  splits = splits[name] if isinstance(splits, dict) else splits
  model = models.make(kind, problem.network, variables, splits, about)
  model_file.save(place / model_file.NAME, model)
