"""The frame of an experiment's program: its flags, configuration, directory.

PROGRAM = experiment.Experiment("classify", "jaxseq.programs.classify")
main = PROGRAM.main
__getattr__ = PROGRAM.attribute

if __name__ == "__main__":
  app.run_main(main)

The module that is named has the class `Config`, and `main(program)`, which
loads data, builds arms and hands them to `compare`. Without a `main` it is that
of a task, whose `TASK` is trained by the one program for all of them. It is
imported once the flags are parsed: nothing that is slow to import comes before.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import functools
import importlib
import pathlib
from typing import TYPE_CHECKING
from typing import Any

from absl import flags

from jaxseq.training import app
from jaxseq.training import errors

if TYPE_CHECKING:
  from jaxseq.training.comparison import arms
  from jaxseq.training.comparison import run

# What runs a module that has a `TASK` and no `main`.
_LINE = "jaxseq.programs.line"

# `--help` shows the flags as those of the program.
flags.disclaim_key_flags()


class Experiment:
  """A comparison of arms as a program; defines its flags.

  Args:
    name: of the experiment, which its directories tell.
    body: name of the module with its class `Config`, and `main` or `TASK`.
    mesh: whether devices may share a run, which `--mesh` says.
    modes: what the program can do.
  """

  def __init__(
    self,
    name: str,
    body: str,
    *,
    mesh: bool = True,
    modes: Sequence[str] = ("train", "evaluate"),
  ):
    self.name = name
    self._body = body
    self._config, self._workdir = app.define_flags()
    self._mode = app.define_mode(tuple(modes))
    self._arms = app.define_arms()
    self._mesh = app.define_mesh() if mesh else None
    self._on_nonfinite = app.define_on_nonfinite()

  @functools.cached_property
  def body(self) -> Any:
    """The module of the experiment."""
    return importlib.import_module(self._body)

  def attribute(self, name: str) -> Any:
    """Returns what the experiment's module has under a name."""
    if name.startswith("__"):
      raise AttributeError(name)
    return getattr(self.body, name)

  def main(self, argv: Sequence[str] = ()) -> None:
    """Runs the experiment that the flags describe."""
    del argv
    body = self.body
    if not hasattr(body, "main"):
      body = importlib.import_module(_LINE)
    body.main(self)

  @property
  def mode(self) -> str:
    """The mode of the program: one of its modes."""
    return self._mode.value

  @contextlib.contextmanager
  def setup(self) -> Iterator[Any]:
    """Gives the configuration to what builds arms and opens the directory.

    Raises:
      UserError: the flags are wrong, or what is built is, see `errors.setup`.
    """
    from jaxseq.training import compile_cache
    from jaxseq.training import configuration
    from jaxseq.training.comparison import arms
    from jaxseq.training.devices import seeds

    seeds.split_cpu()
    compile_cache.enable()
    with errors.setup():
      config = configuration.load(
        self._config.value, app.overrides(), self.body.Config
      )
      yield arms.chosen(
        config,
        () if self._mesh is None else self._mesh.value,
        self._on_nonfinite.value,
        self._arms.value,
      )

  @property
  def directory(self) -> pathlib.Path:
    """The directory of the run, which may not be there."""
    return pathlib.Path(self._workdir.value)

  @property
  def has_config(self) -> bool:
    """True if there is a configuration; predictions can do without."""
    return self._config.value is not None

  def open_directory(self, config: "arms.Arms") -> pathlib.Path:
    """Returns the directory of the run, see `arms.open_directory`."""
    from jaxseq.training.comparison import arms

    workdir = self._workdir.value
    return arms.open_directory(workdir, config, self.name, self.mode)

  def compare(
    self,
    config: "arms.Arms",
    made: "Mapping[str, arms.Arm]",
    directory: pathlib.Path | None = None,
    **options: Any,
  ) -> "run.Results":
    """Trains and measures arms, or only measures them, and shows the results.

    The options are those of `report.finish`: title and columns, and what it has
    besides. A directory is given where it has been opened already.

    Raises:
      UserError: the directory is none of this run.
    """
    from jaxseq.training.comparison import report

    if directory is None:
      with errors.setup():
        directory = self.open_directory(config)
    return report.main(config, directory, made, self.mode, **options)
