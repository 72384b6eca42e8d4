"""The entry point of an experiment: absl flags, and errors in one sentence.

A binary looks like this:

    _CONFIG, _WORKDIR = app.define_flags()

    def main(argv):
      del argv
      with errors.setup():
        config = configuration.parse(_CONFIG.value, Config)
        directory = run_directory.prepare(
          _WORKDIR.value, config, experiment="icrl"
        )
        ...                                   # build models, load data
      ...                                     # train

    if __name__ == "__main__":
      app.run_main(main)
"""

import ast
from collections.abc import Callable
from collections.abc import Sequence
import difflib
import errno
import functools
import importlib.util
import pathlib
import re
import sys
from typing import Any
from typing import NoReturn
from typing import get_args

from absl import app as absl_app
from absl import flags
from absl import logging
import ml_collections
from ml_collections import config_flags

from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import finite
from jaxseq.training import signals
from jaxseq.training import streams
from jaxseq.training.devices import processes

USER_ERROR_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130
# Of a disk that is full, for all or for this user, and of a file's limit.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# The flags that this module defines are those of the program that asks for
# them: `--help` shows them.
flags.disclaim_key_flags()


@functools.cache
def define_flags() -> tuple[flags.FlagHolder, flags.FlagHolder]:
  """Defines `--config=FILE[:VARIANT]` and `--workdir=DIR`, both required.

  With `--mode=predict` the directory alone is enough. Returns their holders,
  which several experiments in one process share.
  """
  config = config_flags.DEFINE_config_file(
    "config",
    None,
    "config file, with a variant after a colon if it has any; single fields "
    "are overridden with --config.FIELD=VALUE",
    # Fields that the file leaves at their defaults can be overridden too; what
    # fields there are is checked when the config becomes a dataclass.
    lock_config=False,
    accept_new_attributes=True,
  )
  workdir = flags.DEFINE_string(
    "workdir",
    None,
    "directory of this run; the same command on the same directory resumes; "
    "only one program at a time may write there",
  )
  flags.mark_flag_as_required("workdir")
  flags.register_validator(
    "config",
    lambda value: value is not None or _predicts(),
    message="Flag --config must have a value other than None.",
  )
  return config, workdir


def _predicts():
  """Whether the program is to predict, by a model that is there."""
  mode = flags.FLAGS["mode"].value if "mode" in flags.FLAGS else None
  return mode == "predict"


def define_mode(modes: Sequence[str]) -> flags.FlagHolder:
  """Defines `--mode`, whose default is the first; returns its holder.

  Where several programs are imported into one process, the flag is one, and
  takes the modes of all.
  """
  if "mode" in flags.FLAGS:
    flag = flags.FLAGS["mode"]
    known = flag.parser.enum_values
    known.extend(mode for mode in modes if mode not in known)
    return flags.FlagHolder(flags.FLAGS, flag, ensure_non_none_value=True)
  return flags.DEFINE_enum(
    "mode",
    modes[0],
    list(modes),
    "train, or do something with what has been trained in the workdir",
  )


@functools.cache
def define_mesh() -> flags.FlagHolder:
  """Defines `--mesh=data=4,time=2` and processes' flags; returns its holder."""
  processes.define_flags()
  return flags.DEFINE_list(
    "mesh",
    [],
    "how devices share the run: data=N groups share the examples of a batch, "
    "or the environments of PPO (0: all), parameters=N devices of each share "
    "the parameters; of supervised experiments time=N the time axis, and "
    "split_data=1 deals the data set out too",
  )


@functools.cache
def define_arms() -> flags.FlagHolder:
  """Defines `--arms=NAME,...`; returns its holder."""
  return flags.DEFINE_list(
    "arms",
    [],
    "arms of the config to run, as if it had no others; the same command goes "
    "on, and each choice of arms has a workdir of its own",
  )


@functools.cache
def define_on_nonfinite() -> flags.FlagHolder:
  """Defines `--on_nonfinite=stop|skip|ignore`; returns its holder."""
  return flags.DEFINE_enum(
    "on_nonfinite",
    None,
    get_args(finite.Action),
    "where a loss, a gradient or a parameter becomes NaN or infinite: stop "
    "(the default), skip such updates and count them, or ignore it",
  )


def run_main(
  main: Callable[[list[str]], int | None], argv: Sequence[str] | None = None
) -> NoReturn:
  """Parses the flags, runs `main` and exits with its code.

  A wrong flag or config, and any `errors.UserError` that `main` raises, is
  printed as `error: <one sentence>` on stderr and ends the program with exit
  code 2, or 3 if numbers are not finite (`finite.NotFinite`); an interruption
  ends with one line and exit code 130. Every other exception keeps its
  traceback.

  Args:
    main: called with the arguments that are no flags; returns an exit code.
    argv: the command line; `sys.argv` if None.
  """
  out, _ = streams.install()

  def guarded(rest: list[str]) -> int | None:
    try:
      signals.exit_on_sigterm()
      processes.start()
      code = main(rest)
      out.flush()
      if out.lost():
        _exit_with(
          f"the standard output could not be written ({out.lost()}); what the "
          "run has reached is in its workdir"
        )
      return code
    except errors.UserError as error:
      _exit_with(error)
    except OSError as error:
      if error.errno not in _FULL:
        raise
      _exit_with(
        f"{errors.one_sentence(error)}: not all could be written; make room, "
        "and the same command goes on from the last checkpoint"
      )
    except KeyboardInterrupt:
      print(
        "interrupted; the same command goes on from the last checkpoint, or "
        "begins anew where there is none",
        file=sys.stderr,
        flush=True,
      )
      sys.exit(INTERRUPTED_EXIT_CODE)

  absl_app.run(guarded, argv, flags_parser=_parse_flags)


def _exit_with(error: BaseException | str) -> NoReturn:
  text = error if isinstance(error, str) else errors.one_sentence(error)
  print(f"error: {text}", file=sys.stderr, flush=True)
  sys.exit(getattr(error, "exit_code", USER_ERROR_EXIT_CODE))


def _parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses flags; every mistake ends the program with one sentence."""
  # Orbax reports every step of a save at INFO.
  logging.set_verbosity(logging.WARNING)
  file, overrides = _config_arguments(argv)
  try:
    if file is None and overrides:
      raise errors.UserError("--config=FILE is missing: name a config file")
    try:
      rest = flags.FLAGS(argv)
    except SystemExit:
      # The help has been shown, which absl takes for an error.
      sys.exit(0)
    except (
      flags.Error,
      LookupError,
      AttributeError,
      TypeError,
      OSError,
      SyntaxError,
    ):
      # ml_collections reports several mistakes as bare AttributeErrors or
      # with a traceback inside the message: look for the cause.
      if file is not None:
        config = _load_config(file)
        for path, value in overrides:
          _check_override(config, path, value)
      raise
    if file is not None:
      # A missing file would only be reported when the config is first used.
      _require_file(file)
  except errors.UserError as error:
    _exit_with(error)
  except flags.Error as error:
    _exit_with(_first_line(error))
  if len(rest) > 1:
    _exit_with(f"unexpected argument {rest[1]!r}: flags start with --")
  return rest


def _first_line(error: Exception) -> str:
  text = str(error).strip().splitlines()[0]
  return re.sub(r"^flag (--\S+)=None: .*", r"\1 is required", text)


def _config_arguments(
  argv: Sequence[str],
) -> tuple[str | None, list[tuple[str, str | None]]]:
  """Returns the value of `--config` and the pairs of its overrides."""
  file, overrides = None, []
  for i, argument in enumerate(argv[1:], start=1):
    match = re.match(r"--?(?:no)?config(\.[^=]+)?(?:=(.*))?$", argument, re.S)
    if not match:
      continue
    value = match[2]
    if value is None and i + 1 < len(argv):
      value = argv[i + 1]
    if match[1] is None:
      file = value
    else:
      overrides.append((match[1][1:], value))
  return file, overrides


def _require_file(spec: str) -> pathlib.Path:
  path = pathlib.Path(spec.split(":", 1)[0])
  if not path.is_file():
    raise errors.UserError(f"--config: there is no file {str(path)!r}")
  return path


def _load_config(spec: str) -> Any:
  """Returns the config that `FILE[:VARIANT]` names."""
  path = _require_file(spec)
  variant = spec.partition(":")[2]
  found = importlib.util.spec_from_file_location("_jaxseq_config", path)
  if found is None or found.loader is None:
    raise errors.UserError(f"--config: {str(path)!r} is no Python file")
  module = importlib.util.module_from_spec(found)
  try:
    found.loader.exec_module(module)
    return module.get_config(*([variant] if variant else []))
  except (ValueError, TypeError, AttributeError, SyntaxError) as error:
    raise errors.UserError(
      f"--config: {path}: {errors.one_sentence(error)}"
    ) from error


def _check_override(config: Any, path: str, value: str | None) -> None:
  """Raises a UserError if `--config.path=value` names no field of a type."""
  holder, name = config, "config"
  known, above = [], ""
  parts = path.split(".")
  for i, part in enumerate(parts):
    rest = parts[i + 1 :]
    # `field[0]` overrides one item of a tuple.
    field = part.split("[", 1)[0]
    if not isinstance(holder, ml_collections.ConfigDict):
      raise errors.UserError(
        f"--config.{path}: {name} is {holder!r}, which has no fields; those of "
        f"{above} (in the config file) are: {', '.join(known)}"
      )
    if field not in holder:
      if difflib.get_close_matches(field, holder.keys(), n=1):
        unknown = configuration.unknown_field(
          f"{name} (in the config file)", field, holder.keys()
        )
        raise errors.UserError(f"--config.{path}: {unknown}")
      if rest:
        whole = ".".join(parts[: i + 1])
        raise errors.UserError(
          f"--config.{path}: {name} (in the config file) does not set "
          f"{field!r}, so that it holds nothing to override; set all of it, as "
          f'--config.{whole}="{_nested(rest, value)}"'
        )
      return  # Checked when the config becomes a dataclass.
    if holder.get_type(field) is type(None):
      raise errors.UserError(
        f"--config.{path}={value}: the config file sets {field!r} to a bare "
        "None, which has no type to read a value with; set it there to "
        "ml_collections.config_dict.placeholder(TYPE)"
      )
    known, above = sorted(holder), name
    holder, name = holder[field], f"{name}.{field}"


def _nested(parts: Sequence[str], value: str | None) -> str:
  """Returns a value at a path as nested dicts, in Python's notation."""
  try:
    nested = ast.literal_eval(value or "")
  except (SyntaxError, ValueError):
    nested = value
  for part in reversed(parts):
    nested = {part: nested}
  return repr(nested)
