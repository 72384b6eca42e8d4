r"""The command `jaxseq`, which comes with the package.

    jaxseq train classify --data=walks.csv --workdir=runs/walks
    jaxseq evaluate classify --data=walks.csv --workdir=runs/walks
    jaxseq predict classify --workdir=runs/walks --arm=gru \
      --data=new.csv --output=predictions.csv
    jaxseq serve --checkpoint=runs/notes/mamba

Tasks are classify (series, arrays, pictures; numbers, too), events, forecast
and language_model. Where the columns have other names, or anything else is to
be another, `--config.FIELD=VALUE` says so, as --config.data_options.label=kind;
`--config=FILE.py` takes a config of your own. `jaxseq train TASK --help` lists
the flags, docs/own_data.md the options.
"""

from collections.abc import Sequence
import pathlib
import sys
from typing import NoReturn

from absl import flags

from jaxseq.models import predict_mode
from jaxseq.programs import serve_flags
from jaxseq.programs import text_flags
from jaxseq.training import app
from jaxseq.training.comparison import experiment

flags.disclaim_key_flags()

VERBS = ("train", "evaluate", "predict", "serve")
# Data sets of other files than tables, by the ends of their names.
_DATA = {
  "classify": {".npz": "npz", ".ts": "ts", "/": "image_folders", "": "table"},
  "events": {"": "event_table"},
  "forecast": {"": "forecast_table"},
  "language_model": {"": "text_files"},
}
BODIES = {
  "classify": "jaxseq.programs.classify",
  "events": "jaxseq.tasks.events",
  "forecast": "jaxseq.programs.forecast",
  "language_model": "jaxseq.programs.language_model",
}
_CONFIGS = pathlib.Path(__file__).with_name("own_files.py")


def main(argv: Sequence[str] | None = None) -> NoReturn:
  """Runs the command line, `sys.argv` if None, and ends the program."""
  arguments = list(sys.argv if argv is None else argv)
  count = next(
    (i for i, x in enumerate(arguments[1:], 1) if x.startswith("-")),
    len(arguments),
  )
  words, rest = arguments[1:count], arguments[count:]
  sys.modules["__main__"].__doc__ = __doc__
  if not words and {"--help", "-h", "-help"} & set(rest):
    print(__doc__)
    sys.exit(0)
  verb, *tasks = words or [""]
  if verb not in VERBS:
    app.fail(f"got {verb!r}, expected jaxseq {'|'.join(VERBS)}: try --help")
  program = [arguments[0], *rest]
  if verb == "serve":
    serve_flags.define()
    app.run_main(_serve, program + tasks)
  if len(tasks) != 1 or tasks[0] not in BODIES:
    app.fail(
      f"jaxseq {verb}: got {' '.join(tasks)!r}, expected one of "
      f"{', '.join(BODIES)}"
    )
  (task,) = tasks
  modes = predict_mode.MODES
  if task == "language_model":
    text_flags.define()
    modes = (*modes, "generate")
  predict_mode.define_flags()
  line = experiment.Experiment(task, BODIES[task], modes=modes)
  if verb != "predict":
    program = _with_config(task, program)
  app.run_main(line.main, [*program, f"--mode={verb}"])


def _with_config(task: str, arguments: list[str]) -> list[str]:
  """Returns a command line whose `--data` is an option of a config."""
  out, ending = [], ""
  for argument in arguments:
    name, _, path = argument.partition("=")
    if name.lstrip("-") != "data":
      out.append(argument)
      continue
    ending = "/" if pathlib.Path(path).is_dir() else pathlib.Path(path).suffix
    out.append(f"--config.data_options.path={path}")
  if not any(argument.startswith("--config=") for argument in out):
    data = _DATA[task]
    kind = data.get(ending, data[""])
    out.insert(1, f"--config={_CONFIGS}:{task}.{kind}")
  return out


def _serve(argv: Sequence[str]) -> None:
  # Slow to import, and not needed for the flags.
  from jaxseq.programs import serve

  serve.main(argv)
