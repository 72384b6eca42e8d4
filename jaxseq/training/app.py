"""The entry point of an experiment: absl flags, and errors in one sentence.

It imports nothing slow: `--help` and a wrong flag are answered at once.

A binary looks like this:

    _CONFIG, _WORKDIR = app.define_flags()

    def main(argv):
      del argv
      with errors.setup():
        config = configuration.load(_CONFIG.value, app.overrides(), Config)
        directory = run_directory.prepare(
          _WORKDIR.value, config, experiment="icrl"
        )
        ...                                   # build models, load data
      ...                                     # train

    if __name__ == "__main__":
      app.run_main(main)
"""

from collections.abc import Callable
from collections.abc import Sequence
import errno
import functools
import pathlib
import re
import sys
from typing import NoReturn
from typing import get_args

from absl import app as absl_app
from absl import flags
from absl import logging

from jaxseq.training import _streams
from jaxseq.training import errors
from jaxseq.training import signals
from jaxseq.training.devices import process_flags

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
  config = flags.DEFINE_string(
    "config",
    None,
    "config file, with a variant after a colon if it has any; single fields "
    "are overridden with --config.FIELD=VALUE",
  )
  flags.DEFINE_multi_string(
    "override", [], "FIELD=VALUE, as --config.FIELD=VALUE"
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


def overrides() -> list[str]:
  """Returns the overrides of the config, as "FIELD=VALUE"."""
  return flags.FLAGS["override"].value


def _predicts():
  """True if the program is to predict, by a model that is there."""
  mode = flags.FLAGS["mode"].value if "mode" in flags.FLAGS else None
  return mode in ("predict", "serve_stream")


def define_mode(modes: Sequence[str]) -> flags.FlagHolder:
  """Defines `--mode`, whose default is the first; returns its holder.

  Where several programs are imported into one process, the flag is one, and
  takes the modes of all.
  """
  if "mode" in flags.FLAGS:
    flag = flags.FLAGS["mode"]
    choices = flag.parser.enum_values
    choices.extend(mode for mode in modes if mode not in choices)
    return flags.FlagHolder(flags.FLAGS, flag, ensure_non_none_value=True)
  return flags.DEFINE_enum(
    "mode",
    modes[0],
    list(modes),
    "train, or use the trained arms in the workdir",
  )


@functools.cache
def define_mesh() -> flags.FlagHolder:
  """Defines `--mesh=data=4,time=2` and processes' flags; returns its holder."""
  process_flags.define()
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
    get_args(errors.OnNonfinite),
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
  out, _ = _streams.install()

  def guarded(rest: list[str]) -> int | None:
    try:
      # What is slow to import comes after the flags, which may be wrong.
      signals.exit_on_sigterm()
      if process_flags.defined():
        from jaxseq.training.devices import processes

        processes.start()
      code = main(rest)
      out.flush()
      if out.lost():
        fail(
          f"the standard output could not be written ({out.lost()}); what the "
          "run has reached is in its workdir"
        )
      return code
    except errors.UserError as error:
      fail(error)
    except RuntimeError as error:
      message = errors.of_callback(error)
      if message is None:
        raise
      fail(message)
    except OSError as error:
      if error.errno not in _FULL:
        raise
      fail(
        f"{errors.one_sentence(error)}: not all could be written; make room, "
        "and the same command resumes from the last checkpoint"
      )
    except KeyboardInterrupt:
      print(
        "interrupted; the same command resumes from the last checkpoint, or "
        "starts again without one",
        file=sys.stderr,
        flush=True,
      )
      sys.exit(INTERRUPTED_EXIT_CODE)

  absl_app.run(guarded, argv, flags_parser=parse_flags)


def fail(error: BaseException | str) -> NoReturn:
  """Tells of an error in one sentence, and ends the program with its code."""
  text = error if isinstance(error, str) else errors.one_sentence(error)
  print(f"error: {text}", file=sys.stderr, flush=True)
  sys.exit(getattr(error, "exit_code", USER_ERROR_EXIT_CODE))


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses flags; every mistake ends the program with one sentence.

  `--config.FIELD=VALUE` is an item of the flag `--override`.
  """
  # Orbax reports every step of a save at INFO.
  logging.set_verbosity(logging.WARNING)
  arguments = with_overrides(argv)
  changed = any(argument.startswith("--override=") for argument in arguments)
  try:
    if changed and not any(re.match(r"--?config\b", x) for x in arguments):
      raise errors.UserError("--config=FILE is missing: name a config file")
    try:
      rest = flags.FLAGS(arguments)
    except SystemExit:
      # The help has been shown, which absl takes for an error.
      sys.exit(0)
    spec = flags.FLAGS["config"].value if "config" in flags.FLAGS else None
    if spec is not None:
      configuration_file(spec)
  except errors.UserError as error:
    fail(error)
  except flags.Error as error:
    fail(_first_line(error))
  if len(rest) > 1:
    fail(f"unexpected argument {rest[1]!r}: flags start with --")
  return rest


def configuration_file(spec: str) -> tuple[pathlib.Path, str]:
  """Returns the file and the variant of `FILE[:VARIANT]`.

  Raises:
    UserError: there is no such file.
  """
  path, _, variant = spec.partition(":")
  if not pathlib.Path(path).is_file():
    raise errors.UserError(f"--config: there is no file {path!r}")
  return pathlib.Path(path), variant


def _first_line(error: Exception) -> str:
  text = str(error).strip().splitlines()[0]
  return re.sub(r"^flag (--\S+)=None: .*", r"\1 is required", text)


def with_overrides(argv: Sequence[str]) -> list[str]:
  """Returns a command line with `--override` for what overrides a config."""
  out, rest = [], list(argv)
  while rest:
    argument = rest.pop(0)
    match = re.fullmatch(r"--?(no)?config\.([^=]+)(=.*)?", argument, re.S)
    if match:
      value = match[3]
      if match[1]:
        value = "=False"
      elif value is None:
        bare = not rest or rest[0].startswith("--")
        value = "=True" if bare else f"={rest.pop(0)}"
      argument = f"--override={match[2]}{value}"
    out.append(argument)
  return out
