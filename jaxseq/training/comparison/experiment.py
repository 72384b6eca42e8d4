"""The frame of an experiment's program: its flags, configuration, directory.

PROGRAM = experiment.Experiment("classify", Config)

def main(argv):
  del argv
  with PROGRAM.setup() as config:
    made = ...                            # load data, build arms
  PROGRAM.compare(config, made, title="accuracy", columns=...)

if __name__ == "__main__":
  app.run_main(main)
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import pathlib
from typing import Any
from typing import Generic
from typing import TypeVar

from absl import flags

from jaxseq.training import app
from jaxseq.training import errors
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import report
from jaxseq.training.comparison import run
from jaxseq.training.devices import seeds

# `--help` shows the flags as those of the program.
flags.disclaim_key_flags()

Config = TypeVar("Config", bound=arms.Arms)


class Experiment(Generic[Config]):
  """A comparison of arms as a program; defines its flags.

  Args:
    name: of the experiment, which its directories tell.
    config: class of its configuration.
    mesh: whether devices may share a run, which `--mesh` says.
    modes: what the program can do.
  """

  def __init__(
    self,
    name: str,
    config: type[Config],
    *,
    mesh: bool = True,
    modes: Sequence[str] = ("train", "evaluate"),
  ):
    self.name = name
    self._class = config
    self._config, self._workdir = app.define_flags()
    self._mode = app.define_mode(tuple(modes))
    self._arms = app.define_arms()
    self._mesh = app.define_mesh() if mesh else None
    self._on_nonfinite = app.define_on_nonfinite()

  @property
  def mode(self) -> str:
    """What is to be done: one of the modes."""
    return self._mode.value

  @contextlib.contextmanager
  def setup(self) -> Iterator[Config]:
    """Gives the configuration to what builds arms and opens the directory.

    Raises:
      UserError: the flags are wrong, or what is built is, see `errors.setup`.
    """
    seeds.split_cpu()
    with errors.setup():
      mesh = () if self._mesh is None else self._mesh.value
      yield arms.parse(
        self._config.value,
        self._class,
        mesh,
        self._on_nonfinite.value,
        self._arms.value,
      )

  @property
  def directory(self) -> pathlib.Path:
    """The directory of the run, which may not be there."""
    return pathlib.Path(self._workdir.value)

  @property
  def has_config(self) -> bool:
    """Whether there is a configuration; predictions can do without."""
    return self._config.value is not None

  def open_directory(self, config: Config) -> pathlib.Path:
    """Returns the directory of the run, see `arms.open_directory`."""
    workdir = self._workdir.value
    return arms.open_directory(workdir, config, self.name, self.mode)

  def compare(
    self,
    config: Config,
    made: Mapping[str, arms.Arm],
    directory: pathlib.Path | None = None,
    **options: Any,
  ) -> run.Results:
    """Trains and measures arms, or only measures them, and shows the results.

    The options are those of `report.finish`: title and columns, and what it has
    besides. A directory is given where it has been opened already.

    Raises:
      UserError: the directory is none of this run.
    """
    if directory is None:
      with errors.setup():
        directory = self.open_directory(config)
    return report.main(config, directory, made, self.mode, **options)
