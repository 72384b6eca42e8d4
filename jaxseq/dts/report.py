"""What a trained model is worth: scores on known factors, probes, pictures."""

from collections.abc import Sequence
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data as data_lib
from jaxseq.data import domains as domains_lib
from jaxseq.dts import diagnostics
from jaxseq.dts import evaluation
from jaxseq.dts import metrics as metrics_lib
from jaxseq.dts import model as model_lib
from jaxseq.dts import pictures
from jaxseq.dts import probes
from jaxseq.dts import problem as problem_lib
from jaxseq.tasks import base
from jaxseq.training import metrics as metric_files
from jaxseq.training import workdir

# Positions of a coordinate in a traversal.
TRAVERSAL = np.linspace(-3.0, 3.0, 7)
SEGMENTS = ("g_y", "g_d")
PROBES = "probes.json"


def arm(
  config: problem_lib.ArmConfig,
  splits: data_lib.Splits,
  variables: Any,
  directory: pathlib.Path,
  *,
  trees: int = 0,
  draw: bool = True,
) -> dict[str, list[float]]:
  """Scores all seeds of an arm, and draws the first one.

  Args:
    config: of the arm.
    splits: the windows; where `info.details` names "factors", the targets are
      their levels, (n, K).
    variables: of the problem, with a leading axis of seeds.
    directory: of the arm; gets kl.png if it holds metrics, traversal.png and,
      with segments, swap.png where windows have more than one element in time,
      information_map.png where factors are known, and probes.json with domains.
    trees: of DCI's boosting; 0 leaves DCI and what else is learned out.
    draw: whether to write these files.

  Returns:
    A list over seeds for each score: with factors "mig", "sap", "modularity"
    and, with trees, "dci"; with domains, how well a linear probe tells class
    and domain from each segment of target windows.
  """
  vae = problem_lib.make_model(config, splits)
  models = {"params": variables["params"]["model"]}

  @jax.jit
  def encode(variables, part):
    return evaluation.encode(vae, variables, part.inputs, part.lengths)

  def means(seed, part):
    return np.asarray(encode(_seed(models, seed), part)[0], np.float64)

  test = base.take(
    base.host(splits.test),
    np.arange(min(config.evaluated, len(splits.test.inputs))),
  )
  seeds = range(len(jax.tree.leaves(models)[0]))
  scores = {}
  if "factors" in splits.info.details:
    codes = [means(seed, test) for seed in seeds]
    factors = np.asarray(test.targets)
    scores |= _factor_scores(codes, factors, trees)
    if draw:
      pictures.information_map(
        directory / "information_map.png",
        metrics_lib.information_matrix(codes[0], factors)
        / metrics_lib.entropies(factors),
        factors=splits.info.details["factors"],
        title=f"Share of a factor's entropy, MIG {scores['mig'][0]:.3f}",
        label="",
      )
  if config.adaptation is not None:
    rows = [_domain_rows(config, splits, test, seed, means) for seed in seeds]
    scores |= _domain_scores(rows)
    if draw:
      workdir.write_json(directory / PROBES, rows)
  if draw:
    _draw(vae, _seed(models, 0), splits, directory)
  return scores


def traversals(vae: model_lib.VAE, variables: Any, mu: jax.Array) -> jax.Array:
  """Decodes one code while each coordinate in turn moves from -3 to 3.

  An autoregressive decoder runs freely: with the true past at its input it
  would hide what the code does.

  Args:
    vae: the model.
    variables: of the model.
    mu: (D,).

  Returns:
    (D, 7, length, channels).
  """
  size = mu.shape[0]
  moved = jnp.broadcast_to(mu, (size, len(TRAVERSAL), size))
  each = jnp.arange(size)
  moved = moved.at[each, :, each].set(jnp.asarray(TRAVERSAL, mu.dtype))
  return model_lib.generate(vae, variables, moved)


def swaps(vae: model_lib.VAE, variables: Any, mu: jax.Array) -> jax.Array:
  """Decodes the first segment of each window with the second of each other.

  Args:
    vae: a model with two segments.
    variables: of the model.
    mu: (n, D) means.

  Returns:
    (n, n, length, channels); rows have the first segment.
  """
  end = vae.config.segments[0]
  count = mu.shape[0]
  first = jnp.broadcast_to(mu[:, None, :end], (count, count, end))
  second = mu[None, :, end:]
  second = jnp.broadcast_to(second, (count, count, second.shape[-1]))
  mixed = jnp.concatenate([first, second], axis=-1)
  return model_lib.generate(vae, variables, mixed)


def contrasting(
  splits: data_lib.Splits, count: int = 4
) -> data_lib.ArrayDataset:
  """Picks a few windows that differ in class and domain, to swap segments.

  The windows of one recording, which follow each other, would all be alike.

  Args:
    splits: the windows. Half are taken from those for validation, which are of
      the source domains, and half from those for testing, which are of the
      target; all from the latter if there are no others.
    count: how many at most. Of each half no two have the same class, and those
      of the target have classes that the others lack as far as there are any.
      The first ones are taken where windows have no classes.
  """
  parts = [base.host(part) for part in (splits.valid, splits.test) if part]
  each = count // len(parts)
  if splits.info.num_classes is None:
    picked = [np.arange(min(each, len(part.inputs))) for part in parts]
  else:
    picked, seen = [], set()
    for part in parts:
      classes, firsts = np.unique(part.targets, return_index=True)
      # False comes first: the classes that were not picked yet.
      order = np.argsort([x in seen for x in classes], kind="stable")[:each]
      seen |= set(classes[order])
      picked.append(firsts[order])
  return domains_lib.joined(
    [base.take(part, rows) for part, rows in zip(parts, picked)]
  )


def comparison(directory: pathlib.Path, names: Sequence[str]) -> None:
  """Draws the parts of the KL of all arms over training.

  Args:
    directory: of the run; gets information.png.
    names: of the arms.
  """
  runs = {}
  for name in names:
    rows = metric_files.read(directory / name)
    steps, mi = metric_files.column(rows, "mi")
    runs[name] = {"steps": steps, "mi": mi}
    for part in ("tc", "dwkl"):
      runs[name][part] = metric_files.column(rows, part)[1]
  pictures.information_curves(directory / "information.png", runs)


def _seed(tree, seed):
  return jax.tree.map(lambda x: x[seed], tree)


def _factor_scores(codes, factors, trees):
  """Returns the scores of all seeds against known factors."""
  half = len(factors) // 2
  scores = {"mig": [], "sap": [], "modularity": []}
  for code in codes:
    scores["mig"].append(metrics_lib.mig(code, factors))
    scores["sap"].append(metrics_lib.sap_continuous(code, factors))
    scores["modularity"].append(metrics_lib.modularity(code, factors))
    if trees:
      dci = metrics_lib.dci(
        code[:half], factors[:half], code[half:], factors[half:], trees=trees
      )
      scores.setdefault("dci", []).append(dci.disentanglement)
  return scores


def _domain_rows(config, splits, test, seed, means):
  """Returns the domain table of one seed."""

  def windows(part):
    return probes.Windows(means(seed, part), np.asarray(part.targets))

  ranges = config.model.ranges()
  train = base.host(splits.train)
  return probes.domain_table(
    windows(domains_lib.labelled(train)),
    windows(base.host(splits.valid)),
    windows(domains_lib.unlabelled(train)),
    windows(test),
    {name: slice(*ends) for name, ends in zip(SEGMENTS, ranges)},
  )


def _domain_scores(rows):
  scores = {}
  for segment in SEGMENTS:
    scores[f"class in {segment}"] = [row[segment]["Acc/C-T"] for row in rows]
    scores[f"domain in {segment}"] = [
      (row[segment]["Acc/D-S"] + row[segment]["Acc/D-T"]) / 2 for row in rows
    ]
  return scores


def _draw(vae, variables, splits, directory):
  """Draws the first seed's KL over training, traversals and swaps."""
  rows = []
  if (directory / metric_files.FILE).exists():
    rows = metric_files.read(directory)
  size = vae.config.latent
  columns = [metric_files.column(rows, f"kl_d/{i}") for i in range(size)]
  steps = columns[0][0]
  if len(steps):
    kl = np.stack([np.atleast_2d(values)[0] for _, values in columns], axis=1)
    pictures.kl_heat_map(directory / "kl.png", steps, kl)
  if vae.length == 1:
    return  # Statistics of a window have no course in time.

  def means(part):
    return evaluation.encode(vae, variables, part.inputs, part.lengths)[0]

  first = means(base.take(base.host(splits.test), np.arange(1)))
  traversal, reference = jax.jit(
    lambda mu: (
      traversals(vae, variables, mu),
      model_lib.generate(vae, variables, mu),
    )
  )(first[0])
  effects = diagnostics.traversal_effect(traversal, reference)
  pictures.traversal_grid(
    directory / "traversal.png",
    np.asarray(traversal),
    names=[f"z{i}\n{effect:.2g}" for i, effect in enumerate(effects)],
    title="One coordinate moves; below its name, how much that changes",
  )
  if len(vae.config.segments) == 2:
    chosen = contrasting(splits)
    swapped = jax.jit(lambda mu: swaps(vae, variables, mu))(means(chosen))
    names = _names(chosen, splits.info)
    pictures.swap_grid(
      directory / "swap.png", np.asarray(swapped), rows=names, columns=names
    )


def _names(windows, info):
  """Returns class and domain of each window, or numbers without them."""
  lines = []
  if info.num_classes is not None:
    classes = info.details.get("classes")
    lines.append(
      [classes[y] if classes else f"class {y}" for y in windows.targets]
    )
  if "domain" in (windows.extras or {}):
    lines.append([f"domain {d}" for d in windows.extras["domain"]])
  return ["\n".join(each) for each in zip(*lines)] or None
