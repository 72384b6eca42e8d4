"""Picture models: codes, likelihoods and sampling of new pictures.

With the objective "codes" a run trains codecs; `DIR/ARM/scales.png` shows test
pictures and their reconstructions after each scale. With "pictures" it trains
models of pixels, or of the codes of such a run's model, and compares them with
counting baselines; `DIR/ARM/samples.png` shows pictures sampled with the first
seed, and `--mode=generate` samples others.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import numpy as np

from jaxseq import generation
from jaxseq import validate
from jaxseq.generation import picture_drawing as drawing
from jaxseq.models import model_file
from jaxseq.tasks import pictures
from jaxseq.tasks import task
from jaxseq.tasks.pictures import picture_codes
from jaxseq.training import figures
from jaxseq.training import tables
from jaxseq.training.comparison import arms
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import run
from jaxseq.training.comparison import work as works
from jaxseq.training.devices import processes
from jaxseq.types import PyTree

# The module's name in configs that were saved.
SAVED_AS = "drawn_pictures"

# Number of test pictures to show after each scale.
_SHOWN = 8
# Color of the pixels between pictures, different from all grays; in 0 .. 1.
_BETWEEN = np.array([0.68, 0.84, 0.95])


@dataclasses.dataclass(frozen=True)
class Config(picture_codes.Config):
  """A comparison on gray pictures, with sampling options for new ones.

  Attributes:
    samples: pictures to sample at the end; of all classes in turn, with
      `by_class`.
    sample_seed: seed of the sampling.
    sampling: fields of `generation.Sampling`: temperature, top_k, top_p, min_p.
    guidance: see `generation.picture_drawing.draw`.
  """

  _: dataclasses.KW_ONLY
  samples: int = arms.free(60)
  sample_seed: int = arms.free(0)
  sampling: Mapping[str, Any] = arms.free(arms.EMPTY)
  guidance: float = arms.free(0.0)

  def __post_init__(self):
    super().__post_init__()
    validate.fields(self, positive=("samples",))
    self.sampling_options()

  def sampling_options(self) -> generation.Sampling:
    """Returns the sampling options of symbols.

    Raises:
      ValueError: if an option is unknown or wrong, or does not apply to
        pictures.
    """
    sampling = generation.token_sampling.from_options(self.sampling)
    return drawing.check_sampling(sampling)


def codec_of(path: str) -> pictures.Codec | None:
  """Returns the codec of a picture code model; None without a path.

  Raises:
    ValueError: if the file is not such a model.
    FileNotFoundError: if there is no such file.
  """
  if not path:
    return None
  model = model_file.load_kind("tokenizer", path, "picture_codes")
  return pictures.Codec(model.network.config, model.variables)


TASK = dataclasses.replace(
  pictures.TASK,
  problem=lambda arm, splits, config: pictures.Problem(
    arm, splits, codec_of(arm.tokenizer)
  ),
)


def floors(arms: Mapping[str, Any], part: str) -> dict[str, dict[str, float]]:
  """Returns the counting baselines on the symbols of all arms, by label.

  Args:
    arms: the arms by name; labels include an arm's name if there are several
      kinds of symbols.
    part: "test" or "valid".
  """
  kinds: dict[Any, tuple[str, pictures.Problem]] = {}
  for name, arm in arms.items():
    key = arm.problem.arm.tokenizer, arm.problem.arm.levels
    kinds.setdefault(key, (name, arm.problem))
  return {
    label if len(kinds) == 1 else f"{label}, as {name}": row
    for name, problem in kinds.values()
    for label, row in problem.floors(part).items()
  }


def side_by_side(rows: np.ndarray) -> np.ndarray:
  """Joins gray pictures into one, with a colored pixel around each.

  Args:
    rows: (rows, columns, height, width) in 0 .. 1, where 1 is black.

  Returns:
    (rows (height + 1) + 1, columns (width + 1) + 1, 3) in 0 .. 1.
  """
  count, columns, height, width = rows.shape
  shape = count, height + 1, columns, width + 1, 3
  whole = np.broadcast_to(_BETWEEN, shape).copy()
  whole[:, 1:, :, 1:] = 1 - rows.swapaxes(1, 2)[..., None]
  whole = whole.reshape(count * (height + 1), -1, 3)
  last = np.broadcast_to(_BETWEEN, (len(whole), 1, 3))
  whole = np.concatenate([whole, last], axis=1)
  last = np.broadcast_to(_BETWEEN, (1, *whole.shape[1:]))
  return np.concatenate([whole, last])


def grid(
  path: pathlib.Path, rows: np.ndarray, labels: Sequence[str] = ()
) -> pathlib.Path | None:
  """Draws pictures (rows, columns, height, width) in 0 .. 1, side by side.

  Args:
    path: the PNG file to write.
    rows: the pictures.
    labels: one label for each row, or empty.

  Returns:
    The path; None, with a warning, if matplotlib is not installed.
  """
  count, columns, height, _ = rows.shape
  margin = 0.7 if labels else 0
  figure = figures.new(path, margin + 0.6 * columns, 0.6 * count)
  if figure is None:
    return None
  axes = figure.add_subplot()
  axes.imshow(np.clip(side_by_side(rows), 0, 1), interpolation="nearest")
  middle = (height + 1) * (np.arange(len(labels)) + 0.5)
  axes.set_yticks(middle, labels, fontsize=8)
  axes.set_xticks([])
  axes.tick_params(length=0)
  axes.spines[:].set_visible(False)
  return figures.save(figure, path)


def samples(config: Config, network: Any, variables: PyTree) -> drawing.Drawn:
  """Samples the pictures that a config specifies."""
  labels = None
  if network.classes:
    labels = np.arange(config.samples) % network.classes
  return drawing.draw(
    network,
    variables,
    jax.random.key(config.sample_seed),
    config.samples,
    labels=labels,
    guidance=config.guidance if network.classes else 0.0,
    sampling=config.sampling_options(),
  )


def _draw_samples(config, network, variables, place):
  """Samples new pictures and draws them in rows of at most ten."""
  drawn = np.asarray(samples(config, network, variables).pictures)
  columns = min(10, len(drawn))
  rows = -(-len(drawn) // columns)
  blank = np.zeros((rows * columns - len(drawn), *drawn.shape[1:]))
  whole = np.concatenate([drawn, blank])
  whole = whole.reshape(rows, columns, *drawn.shape[1:])
  _tell(grid(place / "samples.png", whole))


def _draw_scales(problem, network, variables, place):
  """Draws test pictures and their reconstructions after each scale."""
  shown = np.asarray(problem.data["test"][:_SHOWN])
  drawn = _by_scale(network, variables, shown)
  rows = np.concatenate([shown[None], np.clip(drawn, 0, 1)])
  sizes = network.config.scales.sizes
  labels = ["as it is", *(f"{size} x {size}" for size in sizes)]
  _tell(grid(place / "scales.png", rows, labels))


def _tell(path):
  """Prints the path of a picture."""
  if path is not None:
    print(f"Pictures: {path}")


@functools.partial(jax.jit, static_argnums=0)
def _by_scale(network, variables, pictures):
  """Returns the reconstructions after each scale."""
  _, scales = network.apply(variables, pictures)
  return network.apply(variables, scales.codes, method="by_scale")


def _scale_table(config, results):
  """Shows the error and the codes of each scale."""
  rows = []
  for name, result in results.items():
    if "by_scale" not in result:
      continue
    found = {k: np.asarray(v) for k, v in result["by_scale"].items()}
    for scale in range(found["usage"].shape[1]):
      row = [tables.mean_std(list(found[k][:, scale])) for k in sorted(found)]
      rows.append([name, str(scale + 1), *row])
  headings = ["arm", "scales", "error by the variance", "codes used"]
  tables.show(headings, rows, title=f"{config.data}, by scale")


def line(config: Config) -> task.Task:
  """Returns the task of a config's objective."""
  return picture_codes.TASK if config.objective == "codes" else TASK


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, with functions that draw their pictures."""
  codes = config.objective == "codes"
  work = line(config).work(config)
  options = dict(work.options)
  if not codes and program.mode != "generate":
    options["baselines"] = floors(work.arms, "test")
    options["levels"] = {
      name: row["test_loss"] for name, row in floors(work.arms, "valid").items()
    }

  def show(directory, results):
    if not processes.is_first():
      return
    if codes and results:
      _scale_table(config, results)
    if program.mode == "evaluate":
      return
    for name, arm in work.arms.items():
      _, state = run.restore(config, directory, name, arm)
      variables = works.seed_of(jax.device_get(state.variables), 0)
      rest = arm.problem.network, variables, directory / name
      if codes:
        _draw_scales(arm.problem, *rest)
      else:
        _draw_samples(config, *rest)

  return dataclasses.replace(work, options=options, show=show)
