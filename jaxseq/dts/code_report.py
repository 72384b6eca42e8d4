"""Report on a trained model: scores on known factors, probes, pictures."""

from collections.abc import Mapping
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxseq import data
from jaxseq.data import domains
from jaxseq.dts import _pictures
from jaxseq.dts import autoencoder
from jaxseq.dts import code_scores
from jaxseq.dts import diagnostics
from jaxseq.dts import evaluation
from jaxseq.dts import metrics
from jaxseq.dts import probes
from jaxseq.dts import problem
from jaxseq.tasks import base
from jaxseq.training import files
from jaxseq.training import per_seed
from jaxseq.training import scalars
from jaxseq.training import tables
from jaxseq.types import PyTree

# Positions of a coordinate in a traversal.
TRAVERSAL = np.linspace(-3.0, 3.0, 7)
PROBES = "probes.json"
_PROBED = ("class", "domain")
BARS = "metrics.png"
# Scores that the table of results has a place for.
SHORT = (
  "mig",
  "sap",
  "modularity",
  "dci",
  *(f"{what} in {name}" for name in code_scores.SEGMENTS for what in _PROBED),
)


def arm(
  config: problem.ArmConfig,
  splits: data.Splits,
  variables: PyTree,
  directory: pathlib.Path,
  *,
  trees: int = 0,
  votes: int = 10_000,
  draw: bool = True,
) -> dict[str, Any]:
  """Scores all seeds of an arm, and draws the first one.

  Args:
    config: of the arm.
    splits: the windows; where `info.factors` is given, the targets are
      their levels, (n, K).
    variables: of the problem, with a leading axis of seeds.
    directory: of the arm; gets kl.png if it holds metrics, traversal.png and,
      with segments, swap.png where windows have more than one element in time,
      information_map.png where factors are known, and probes.json with domains.
    trees: of DCI's boosting; 0 leaves DCI and what else is learned out.
    votes: see `code_scores.of_factors`.
    draw: whether to write these files.

  Returns:
    A list over seeds for each score: with factors those of
    `code_scores.of_factors`; with domains "probes", the columns of
    `code_scores.of_domains` by segment, and of these "class in SEGMENT", that
    of target windows, and "domain in SEGMENT", the mean over both domains.
  """
  vae, models = problem.make_model(config, splits), problem.models(variables)
  encode = jax.jit(functools.partial(evaluation.encode, vae))

  def posterior(model, part):
    return [np.asarray(x, np.float64) for x in encode(model, part)]

  test = evaluation.some(base.host(splits.test), config.evaluated)
  scores = {}
  if splits.info.factors is not None:
    codes = [posterior(model, test) for model in models]
    factors = np.asarray(test.targets)
    scores |= code_scores.over_seeds(
      [
        code_scores.of_factors(*code, factors, trees=trees, votes=votes)
        for code in codes
      ]
    )
    if draw:
      entropies = metrics.entropies(factors)
      _pictures.information_map(
        directory / "information_map.png",
        metrics.information_matrix(codes[0][0], factors) / entropies,
        factors=splits.info.factors.names,
        title=f"What coordinates tell of factors: MIG {scores['mig'][0]:.3f}",
        note=_bias(factors, entropies),
      )
  if config.adaptation is not None:
    ranges = config.model.ranges()
    rows = [
      code_scores.of_domains(
        ranges,
        splits,
        test,
        lambda part, model=model: posterior(model, part)[0],
      )
      for model in models
    ]
    scores["probes"] = code_scores.over_seeds(rows)
    for segment, row in scores["probes"].items():
      domain = np.mean([row["Acc/D-S"], row["Acc/D-T"]], axis=0)
      scores[f"class in {segment}"] = row["Acc/C-T"]
      scores[f"domain in {segment}"] = per_seed.of(domain)
    if draw:
      files.write_json(directory / PROBES, rows)
  if draw:
    _draw(vae, models[0], splits, directory)
  return scores


def traversals(
  vae: autoencoder.VAE, variables: PyTree, mu: jax.Array
) -> jax.Array:
  """Decodes one code (D,) while each coordinate in turn moves from -3 to 3.

  An autoregressive decoder runs freely: with the true past at its input it
  would hide what the code does.

  Returns:
    (D, 7, length, channels).
  """
  size = mu.shape[0]
  moved = jnp.broadcast_to(mu, (size, len(TRAVERSAL), size))
  each = jnp.arange(size)
  moved = moved.at[each, :, each].set(jnp.asarray(TRAVERSAL, mu.dtype))
  return autoencoder.generate(vae, variables, moved)


def swaps(vae: autoencoder.VAE, variables: PyTree, mu: jax.Array) -> jax.Array:
  """Decodes the first of two segments of each window with each other's second.

  From means (n, D) to (n, n, length, channels); rows have the first segment.
  """
  end = vae.config.segments[0]
  count = mu.shape[0]
  first = jnp.broadcast_to(mu[:, None, :end], (count, count, end))
  second = mu[None, :, end:]
  second = jnp.broadcast_to(second, (count, count, second.shape[-1]))
  mixed = jnp.concatenate([first, second], axis=-1)
  return autoencoder.generate(vae, variables, mixed)


def _contrasting(splits: data.Splits, count: int = 4) -> data.ArrayDataset:
  """Picks a few windows that differ in class and domain, to swap segments."""
  # The windows of one recording, which follow each other, would all be alike.
  # Those for validation are of the source domains, those for testing of the
  # target, which have classes that the others lack as far as there are any.
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
  return domains.joined(
    [base.take(part, rows) for part, rows in zip(parts, picked)]
  )


def comparison(
  directory: pathlib.Path, results: Mapping[str, Mapping[str, Any]]
) -> None:
  """Draws the parts of the KL of all arms over training, and their metrics.

  The directory of the run gets information.png and, where factors are known,
  metrics.png. Results are those of the arms, with the scores of `arm`.
  """
  runs, scores, part = {}, {}, ""
  # The bias is that of the number of windows, the same for all.
  keys = [key for key in _pictures.METRICS if key != "information_bias"]
  for name, row in results.items():
    rows = scalars.read(directory / name)
    columns = {x: _watched(rows, x) for x in ("mi", "tc", "dwkl")}
    runs[name] = {part: values for part, (_, values) in columns.items()}
    runs[name]["steps"] = columns["mi"][0]
    part = _part(rows, "mi")
    scores[name] = {key: row[key] for key in keys if key in row}
  _pictures.information_curves(directory / "information.png", runs, part=part)
  if any(scores.values()):
    _pictures.metric_bars(directory / BARS, scores)


def show_details(results: Mapping[str, Mapping[str, Any]]) -> None:
  """Prints what the table of results has no place for.

  These are all metrics of disentanglement, and what probes read off segments of
  the code, in the results of the arms with the scores of `arm`.
  """
  first = next(iter(results.values()))
  keys = [key for key in _pictures.METRICS if key in first]
  measured = [
    [name, *(tables.mean_std(row[key]) for key in keys)]
    for name, row in results.items()
  ]
  if keys:
    title = "metrics of disentanglement"
    tables.show(["arm", *keys], measured, title)
  rows = [
    [name, segment, *map(tables.mean_std, columns.values())]
    for name, row in results.items()
    for segment, columns in row.get("probes", {}).items()
  ]
  if rows:
    title = "probes of domain (D) and class (C) on source (S) and target (T)"
    tables.show(["arm", "segment", *probes.COLUMNS], rows, title)


def _watched(rows, metric):
  """The column of a metric, of validation windows where there are some."""
  name = f"valid_{metric}" if _part(rows, metric) == "validation" else metric
  return scalars.column(rows, name)


def _part(rows, metric):
  """The part of the data that a metric is of."""
  scores = len(scalars.column(rows, f"valid_{metric}")[0])
  return "validation" if scores else "test"


def _draw(vae, variables, splits, directory):
  """Draws the first seed's KL over training, traversals and swaps."""
  rows = []
  if (directory / scalars.FILE).exists():
    rows = scalars.read(directory)
  size = vae.config.latent
  columns = [_watched(rows, f"kl_d/{i}") for i in range(size)]
  steps = columns[0][0]
  if len(steps):
    kl = np.stack([np.atleast_2d(values)[0] for _, values in columns], axis=1)
    part = _part(rows, "kl_d/0")
    _pictures.kl_heat_map(directory / "kl.png", steps, kl, part=part)
  if vae.length == 1:
    return  # Statistics of a window have no course in time.

  def means(part):
    return evaluation.encode(vae, variables, part)[0]

  first = base.take(base.host(splits.test), np.arange(1))
  # What is decoded beyond the end of the window was never trained.
  end = vae.length if first.lengths is None else int(first.lengths[0])
  traversal, reference = (
    jax.jit(functools.partial(decode, vae, variables))(means(first)[0])
    for decode in (traversals, autoencoder.generate)
  )
  effects = diagnostics.traversal_effect(traversal[:, :, :end], reference[:end])
  _pictures.traversal_grid(
    directory / "traversal.png",
    np.asarray(traversal),
    names=[f"z{i}\n{effect:.2g}" for i, effect in enumerate(effects)],
    title="Each coordinate moves alone (below its name: mean squared change)",
    length=end,
    channels=splits.info.channels,
  )
  if len(vae.config.segments) == 2:
    chosen = _contrasting(splits)
    decode = jax.jit(functools.partial(swaps, vae, variables))
    swapped = decode(means(chosen))
    names = _names(chosen, splits.info)
    _pictures.swap_grid(
      directory / "swap.png",
      np.asarray(swapped),
      rows=names,
      columns=names,
      lengths=chosen.lengths,
      channels=splits.info.channels,
    )


def _bias(factors, entropies):
  """Returns a sentence on how much of a share the estimate makes up."""
  shares = [
    metrics.information_bias(len(factors), 20, len(np.unique(levels))) / entropy
    for levels, entropy in zip(factors.T, entropies)
  ]
  return (
    f"Estimated from {len(factors):,} windows: shares up to "
    f"{max(shares):.2g} are what coordinates\nshow that tell nothing "
    "(the estimate's bias)."
  )


def _names(windows, info):
  """Returns class and domain of each window, or numbers without them."""
  lines, classes = [], info.classes
  if info.num_classes is not None:
    lines.append(
      [classes[y] if classes else f"class {y}" for y in windows.targets]
    )
  if windows.extras.domain is not None:
    lines.append([f"domain {d}" for d in windows.extras.domain])
  return ["\n".join(each) for each in zip(*lines)] or None
