r"""The `jaxseq` command: trains, evaluates, predicts and serves.

    jaxseq train classify --data=walks.csv --workdir=runs/walks
    jaxseq train classify --data=walks.csv --workdir=runs/try --tiny
    jaxseq evaluate classify --data=walks.csv --workdir=runs/walks
    jaxseq predict classify --workdir=runs/walks --arm=gru \
      --data=new.csv --output=predictions.csv
    jaxseq serve --checkpoint=runs/notes/mamba
    jaxseq tokenize --data=texts.jsonl --tokenizer=t.json --output=corpus.bin

Tasks on your own files: classify (series, arrays, pictures; also regression),
events, forecast, language_model, masked_language, next_element, pictures,
recommend, segmentation and temporal_graph. --tiny checks in seconds that a file
can be read and trained on. `--config.FIELD=VALUE` sets any field, such as
--config.data_options.label=kind for the name of the label column, or
--config.data_options.time=date for series with a column of times; evaluate
takes the same flags as train. `--config=FILE.py` reads your own config, which
the other tasks need: adapt, compare, decision, dts, icrl, icrl_suite and spr.
`jaxseq train TASK --help` lists the flags and the options of its data.
"""

from collections.abc import Callable
from collections.abc import Sequence
import difflib
import importlib
import importlib.metadata
import pathlib
import re
import sys
from typing import Any
from typing import NoReturn

from absl import flags

from jaxseq.models import predict_mode
from jaxseq.programs import serve_flags
from jaxseq.programs import token_command
from jaxseq.tasks import lines
from jaxseq.training import app
from jaxseq.training.comparison import experiment

flags.disclaim_key_flags()

VERBS = ("train", "evaluate", "predict", "serve", "tokenize")
_CONFIGS = pathlib.Path(__file__).with_name("own_files.py")


def program(
  name: str, line: lines.Line | None = None
) -> tuple[Callable[[Sequence[str]], None], Callable]:
  """Returns the program of a task, whose flags are defined here.

    main, __getattr__ = command.program("classify")

  Args:
    name: name of the task, and of the experiment in its directories.
    line: the program's description; by default that of `tasks.lines`.

  Returns:
    The main function, to call with parsed flags, and the `__getattr__` of its
    body's attributes, which imports the body.
  """
  line = line or lines.LINES[name]
  if "predict" in line.modes:
    predict_mode.define_flags()
  if line.flags:
    importlib.import_module(line.flags).define()
  flagged = experiment.Experiment(
    name, line.body, mesh=line.mesh, modes=line.modes
  )

  def main(argv: Sequence[str] = ()) -> None:
    """Runs the experiment that the flags describe."""
    del argv
    # A slow import that the flags do not need.
    from jaxseq.programs import line as one_line

    one_line.main(flagged)

  return main, flagged.attribute


def main(argv: Sequence[str] | None = None) -> NoReturn:
  """Runs the command line, by default `sys.argv`, and exits."""
  arguments = list(sys.argv if argv is None else argv)
  count = next(
    (i for i, x in enumerate(arguments[1:], 1) if x.startswith("-")),
    len(arguments),
  )
  words, rest = arguments[1:count], arguments[count:]
  sys.modules["__main__"].__doc__ = __doc__
  if not words and _asks_for_help(rest):
    print(__doc__)
    sys.exit(0)
  if not words and rest == ["--version"]:
    print(f"jaxseq {importlib.metadata.version('jaxseq')}")
    sys.exit(0)
  verb, *tasks = words or [""]
  able = [x for x, line in lines.LINES.items() if verb in line.modes]
  if able and not tasks and _asks_for_help(rest):
    print(f"{__doc__}\njaxseq {verb} TASK, of {', '.join(able)}.")
    sys.exit(0)
  if verb not in VERBS:
    app.fail(f"got {verb!r}, expected jaxseq {'|'.join(VERBS)}: try --help")
  call = [arguments[0], *rest]
  if verb == "serve":
    app.run_main(server()[0], call + tasks)
  if verb == "tokenize":
    token_command.define()
    app.run_main(token_command.main, call + tasks)
  name, *more = tasks or [""]
  if more or name not in able:
    close = difflib.get_close_matches(name, able, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    if name in lines.LINES and name not in able:
      hint = f" ({name} has no {verb})"
    app.fail(
      f"jaxseq {verb}: got {' '.join(tasks)!r}, expected one of "
      f"{', '.join(able)}{hint}"
    )
  has_config = bool(lines.LINES[name].data)
  predicts = verb == "predict"
  if not (has_config or predicts) and any(
    re.match(r"--?data\b", x) for x in rest
  ):
    app.fail(
      f"jaxseq {verb} {name}: --data is of tasks with a config for each kind "
      "of file; give --config=FILE.py --config.data_options.path=PATH"
    )
  if has_config and _asks_for_help(rest):
    page = _data_help(name, rest)
    sys.modules["__main__"].__doc__ = f"{__doc__}\n{page}"
  run, _ = program(name)
  if has_config and not predicts:
    call = with_config(name, call)
  app.run_main(run, [*call, f"--mode={verb}"])


def with_config(task: str, arguments: list[str]) -> list[str]:
  """Replaces `--data` in a command line by an option of a config.

  Args:
    task: name of a task that has a config for the user's files.
    arguments: arguments of the program; the first one stays first.
  """
  out, ending, tiny = [], "", ""
  rest = iter(arguments)
  for argument in rest:
    name, equals, path = argument.partition("=")
    if argument in ("--tiny", "-tiny"):
      tiny = ".tiny"
      continue
    if name not in ("--data", "-data"):
      out.append(argument)
      continue
    path = path if equals else next(rest, "")
    ending = _ending(path)
    out.append(f"--config.data_options.path={path}")
  if not any(re.match(r"--?config(=|$)", argument) for argument in out):
    data = lines.LINES[task].data
    kind = data.get(ending, data[""])
    out.insert(1, f"--config={_CONFIGS}:{task}.{kind}{tiny}")
  elif tiny:
    app.fail(
      "--tiny: got --config, too, expected --data alone; a config of your own "
      "has such a variant behind a colon, as in table.py:tiny"
    )
  return out


def _ending(path):
  """Returns a file's suffix, or "/" for a folder."""
  place = pathlib.Path(path)
  return "/" if place.is_dir() else place.suffix


def _data_help(task, arguments):
  """Returns help on the options of the given data, by default of tables."""
  # A slow import that only the help needs.
  from jaxseq.programs import own_data

  kinds = lines.LINES[task].data
  given = next((x for x in arguments if re.match(r"--?data=", x)), None)
  ending = "" if given is None else _ending(given.partition("=")[2])
  kind = kinds.get(ending, kinds[""])
  text = (
    f"Options of {task}'s data {kind!r}, as --config.data_options.NAME=VALUE:"
    f"\n\n{own_data.described(kind)}\n\nNames such as `data.missing` are "
    "modules, classes and functions of jaxseq; Python's help() explains them."
  )
  others = [x or "other files" for x in kinds if kinds[x] != kind]
  if others:
    listed = ", ".join("folders" if x == "/" else x for x in others)
    text += f"\nThose of {listed}: jaxseq train {task} --data=PATH --help"
  return f"{text}\n"


def _asks_for_help(arguments):
  """Returns whether the flags ask for help."""
  return bool({"--help", "-h", "-help", "--helpfull"} & set(arguments))


def server() -> tuple[Callable[[Sequence[str]], None], Callable]:
  """Returns the program of the server, like `program`."""
  serve_flags.define()

  def main(argv: Sequence[str]) -> None:
    """Serves the model that the flags select."""
    from jaxseq.programs import serve

    serve.main(argv)

  def attribute(name: str) -> Any:
    from jaxseq.programs import serve

    return getattr(serve, name)

  return main, attribute
