"""The frame of an experiment's program: its flags, configuration, directory.

The module that is named, its body, has the class `Config`, and a `TASK` or a
function `work`, which say what there is to train and to show. It is imported
once the flags are parsed: nothing that is slow to import comes before.
"""

from collections.abc import Iterator
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

# `--help` shows the flags as those of the program.
flags.disclaim_key_flags()


class Experiment:
  """A comparison of arms as a program; defines its flags.

  Args:
    name: of the experiment, which its directories tell.
    body: name of the module with its class `Config`, and `TASK` or `work`.
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
    self.name, self.modes = name, tuple(modes)
    self._body = body
    self._config, self._workdir = app.define_flags()
    self._mode = app.define_mode(self.modes)
    self._arms = app.define_arms()
    self._mesh = app.define_mesh() if mesh else None
    self._on_nonfinite = app.define_on_nonfinite()
    self._opened: pathlib.Path | None = None

  @functools.cached_property
  def body(self) -> Any:
    """The module of the experiment."""
    return importlib.import_module(self._body)

  def attribute(self, name: str) -> Any:
    """Returns what the experiment's module has under a name."""
    if name.startswith("__"):
      raise AttributeError(name)
    return getattr(self.body, name)

  @property
  def mode(self) -> str:
    """The mode of the program: one of its modes."""
    return self._mode.value

  @contextlib.contextmanager
  def setup(self) -> Iterator[Any]:
    """Gives the configuration to what builds arms and opens the directory.

    Raises:
      UserError: the flags or the arms are wrong, see `errors.setup`.
    """
    from jaxseq.training import compile_cache
    from jaxseq.training import configuration
    from jaxseq.training.comparison import _arm_names
    from jaxseq.training.comparison import _resumed_config
    from jaxseq.training.comparison import arms
    from jaxseq.training.devices import seeds

    self._opened = None
    seeds.split_cpu()
    compile_cache.enable()

    def changed(before, after):
      fields = _arm_names.renamed(before, after, self.directory)
      return _resumed_config.continued(before, fields, self.directory)

    with errors.setup():
      config = configuration.load(
        self._config.value, app.overrides(), self.body.Config, changed
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
    """Returns the directory of the run, opened once, see `arms`."""
    from jaxseq.training.comparison import arms

    if self._opened is None:
      workdir = self._workdir.value
      self._opened = arms.open_directory(workdir, config, self.name, self.mode)
    return self._opened
