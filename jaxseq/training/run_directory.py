"""The directory of one run, and the files that describe it.

    config.json      the experiment's name and its whole config
    versions.json    interpreter, libraries, device, commit, command line, time
    metrics.jsonl    measured values (`scalars`)
    checkpoints/     (`checkpoint`)
    .lock            the program that writes here, one at a time

The same command on the same directory resumes the run. A directory that holds
anything else is refused, so that no program overwrites another one's files.
"""

from collections.abc import Iterable
from importlib import metadata
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import logging
import jax

from jaxseq import _files
from jaxseq import _json
from jaxseq import limits
from jaxseq.training import _lock
from jaxseq.training import configuration
from jaxseq.training import errors
from jaxseq.training import files
from jaxseq.training.devices import processes

CONFIG_FILE = "config.json"
VERSIONS_FILE = "versions.json"
CHECKPOINTS = "checkpoints"

_PACKAGES = ("jaxseq", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
_PROGRAM = "jaxseq"
# Of what lies in a run's directory; another one cannot be gone on with.
FORMAT = 2


def prepare(
  workdir: str | os.PathLike,
  config: Any,
  *,
  experiment: str,
  may_change: Iterable[str] = (),
) -> pathlib.Path:
  """Makes the directory of a run, or checks that it may be resumed.

  Process 0 locks it until the program ends, and writes `config.json` and
  `versions.json`.

  Args:
    workdir: the directory; made if it does not exist.
    config: the run's frozen dataclass (or a mapping).
    experiment: the experiment's name; a run resumes its own experiment only.
    may_change: dotted names of config fields, or of groups of fields, that may
      differ from those of the run that is resumed ("num_updates", "log").

  Returns:
    The path of the directory.

  Raises:
    UserError: the directory cannot be written, is a file, is in use by another
      program, or holds something else than this experiment with this config.
  """
  if not os.fspath(workdir):
    raise errors.UserError("workdir is empty: name a directory")
  path = pathlib.Path(workdir)
  may_change = tuple(may_change)
  processes.first_then_rest(
    lambda: _prepare(path, config, experiment, may_change),
    f"workdir {str(path)!r}",
  )
  return path


def _prepare(path, config, experiment, may_change):
  _make_writable(path)
  described = _describe(config, experiment)
  if not (path / CONFIG_FILE).exists():
    _refuse_foreign(path)
  if processes.is_first():
    _lock.hold(path)
  # Only now is it sure that nobody makes it something else.
  if (path / CONFIG_FILE).exists():
    _check_same_run(path, config, described, may_change)
  if processes.is_first():
    for directory in (path, *(p.parent for p in path.glob(f"*/{CHECKPOINTS}"))):
      _files.remove_unfinished(directory)
    files.write_json(path / CONFIG_FILE, described)
    _write_versions(path / VERSIONS_FILE)


def open_existing(
  workdir: str | os.PathLike,
  config: object,
  *,
  experiment: str,
  may_change: Iterable[str] = (),
) -> pathlib.Path:
  """Checks that a directory holds a run, to read it; writes and locks nothing.

  The arguments are those of `prepare`, and so is the result; a UserError says
  that there is no such run.
  """
  path = pathlib.Path(workdir)
  if not (path / CONFIG_FILE).is_file():
    raise errors.UserError(
      f"workdir {str(path)!r} holds no run of {experiment!r}: train first, "
      "with the same --workdir"
    )
  described = _describe(config, experiment)
  _check_same_run(path, config, described, tuple(may_change))
  return path


def _describe(config: object, experiment: str) -> dict[str, object]:
  """Returns the content of `config.json`."""
  return {
    "program": _PROGRAM,
    "format": FORMAT,
    "experiment": experiment,
    "config": configuration.to_json(config),
  }


def versions() -> dict[str, Any]:
  """Returns what this process runs: versions, device, commit, command."""
  packages = {"python": platform.python_version()}
  for name in (*_PACKAGES, "numpy"):
    try:
      packages[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      packages[name] = None
  devices = jax.devices()
  return {
    **packages,
    "device": devices[0].device_kind,
    "platform": devices[0].platform,
    "device_count": len(devices),
    "process_count": jax.process_count(),
    "machine": platform.platform(),
    "git": _git_commit(),
    "command": shlex.join([sys.executable, *sys.argv]),
    "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
  }


def _make_writable(path: pathlib.Path) -> None:
  try:
    str(path.absolute()).encode()
  except UnicodeEncodeError as error:
    raise errors.UserError(
      f"workdir {str(path)!a} has characters that this locale's encoding "
      f"({sys.getfilesystemencoding()}) cannot tell: choose another name, or "
      "set PYTHONUTF8=1 if it is UTF-8"
    ) from error
  if path.exists() and not path.is_dir():
    raise errors.UserError(f"workdir {str(path)!r} is a file, not a directory")
  try:
    path.mkdir(parents=True, exist_ok=True)
    # The only sure test: permission bits say nothing about a full disk, a
    # read-only mount or the superuser.
    with tempfile.TemporaryFile(dir=path, prefix=".writable"):
      pass
  except OSError as error:
    raise errors.UserError(
      f"workdir {str(path)!r} cannot be written: {error.strerror}"
    ) from error


def _refuse_foreign(path: pathlib.Path) -> None:
  names = sorted(p.name for p in path.iterdir() if p.name[0] != ".")
  if names:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    raise errors.UserError(
      f"workdir {str(path)!r} holds files of another program ({shown}) and no "
      f"{CONFIG_FILE} of ours: choose an empty or new directory"
    )


def _check_same_run(path, config, described, may_change) -> None:
  """Raises a UserError unless `path` holds the run that is described."""
  file, holds = path / CONFIG_FILE, f"workdir {str(path)!r} holds"
  try:
    stored = _json.loads(limits.read_bytes(file, limits.JSON))
  except (OSError, ValueError) as error:
    raise errors.UserError(
      f"{str(file)!r} cannot be read ({errors.one_sentence(error)}): choose "
      "another workdir"
    ) from error
  if not isinstance(stored, dict) or stored.get("program") != _PROGRAM:
    raise errors.UserError(
      f"{holds} a {CONFIG_FILE} of another program: choose an empty or new "
      "directory"
    )
  version = stored.get("format", 1)
  if version != FORMAT:
    age = "an earlier" if version < FORMAT else "a later"
    raise errors.UserError(
      f"{holds} a run of format {version}, written by {age} version of jaxseq; "
      f"this one reads format {FORMAT}: choose another workdir, or the version "
      "that wrote it"
    )
  if stored.get("experiment") != described["experiment"]:
    raise errors.UserError(
      f"{holds} a run of {stored.get('experiment')!r}, not of "
      f"{described['experiment']!r}: choose an empty or new directory"
    )
  changed = [
    (name, old, new)
    for name, old, new in configuration.difference(
      stored.get("config"), described["config"]
    )
    if not any(f"{name}.".startswith(f"{free}.") for free in may_change)
  ]
  if changed:
    # A field that the version which began the run had not.
    defaults = configuration.at_defaults(config)
    changed = [
      (name, old, new)
      for name, old, new in changed
      if old != configuration.ABSENT or name not in defaults
    ]
    # And one that this version has not.
    former = getattr(config, "FORMER", {}).items()
    changed = [
      (name, old, new)
      for name, old, new in changed
      if new != configuration.ABSENT or (name, old) not in former
    ]
  if changed:

    def said(value):
      return "not set" if value == configuration.ABSENT else repr(value)

    listed = "; ".join(
      f"{name} was {said(old)} and is now {said(new)}"
      for name, old, new in changed
    )
    raise errors.UserError(
      f"{holds} a run with another config ({listed}): use the old config to go "
      "on with it, or another workdir"
    )


def _write_versions(file: pathlib.Path) -> None:
  """Writes this start's versions, and keeps those of earlier starts."""
  current = versions()
  earlier: list[dict] = []
  if file.exists():
    try:
      stored = _json.loads(limits.read_bytes(file, limits.JSON))
      earlier = [*stored.pop("earlier", []), stored]
    except (OSError, ValueError, AttributeError, TypeError):
      logging.warning("%s was unreadable and is written again", file)
  if earlier:
    changed = {
      kind: [
        f"{key} {earlier[-1].get(key)} -> {current[key]}"
        for key in keys
        if earlier[-1].get(key) != current[key]
      ]
      for kind, keys in (
        ("versions", ("python", *_PACKAGES, "numpy")),
        ("devices", ("device", "device_count")),
      )
    }
    changed = {kind: listed for kind, listed in changed.items() if listed}
    if changed:
      logging.warning(
        "Resuming with other %s than the run had (%s): its numbers may differ "
        "in the last bits from those of an uninterrupted run",
        " and ".join(changed),
        ", ".join(sum(changed.values(), [])),
      )
  files.write_json(file, {**current, "earlier": earlier})


def _git_commit() -> dict[str, object] | None:
  """Returns the commit of the code that runs, or None outside of git."""
  folder = pathlib.Path(__file__).resolve().parent

  def git(*arguments: str) -> str:
    return subprocess.run(
      ["git", "-C", str(folder), *arguments],
      capture_output=True,
      text=True,
      check=True,
      timeout=10,
    ).stdout.strip()

  try:
    # An installed package may lie in somebody else's repository.
    git("ls-files", "--error-unmatch", pathlib.Path(__file__).name)
    return {
      "commit": git("rev-parse", "HEAD"),
      "modified": bool(git("status", "--porcelain", "--untracked-files=no")),
    }
  except (OSError, subprocess.SubprocessError):
    return None
