"""Recommendation of the next item, from the items of a user's history.

A network reads a user's items one by one; the scores of all items after each
are the products of its output with their embeddings, which are also its inputs
(SASRec, Kang & McAuley, arXiv:1808.09781; with a GRU it is GRU4Rec, with Mamba
Mamba4Rec). `item_problems` has the losses. In validation and test the last
target is ranked among all items that are not in the user's history, see
`tasks.ranking`. The baselines are those of `item_baselines`.
"""

import copy
import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from jaxseq.tasks import base
from jaxseq.tasks import outputs
from jaxseq.tasks import ranking
from jaxseq.tasks import task
from jaxseq.tasks.recommendation import answers as recommendation_answers
from jaxseq.tasks.recommendation import arms as recommendation_arms
from jaxseq.tasks.recommendation import baselines as item_baselines
from jaxseq.tasks.recommendation import item_linear
from jaxseq.tasks.recommendation import item_problems
from jaxseq.tasks.recommendation import item_wishes
from jaxseq.tasks.recommendation import metrics as item_metrics
from jaxseq.tasks.recommendation import network as item_network
from jaxseq.tasks.recommendation import semantic_network
from jaxseq.tasks.recommendation import sentence_network
from jaxseq.tasks.recommendation.network import ItemNetwork
from jaxseq.training import per_seed

# File in an arm's directory with the metrics of each user of the test part.
USERS = "users.npz"
# Share of users with a cold target above which their metric is reported.
_COLD = 0.05


@dataclasses.dataclass(frozen=True)
class Config(recommendation_arms.Options, base.DataComparison):
  """A comparison on histories of users, with `recommendation_arms.Options`."""


def _baselines(splits, config, part):
  """The metrics of the baselines, if there is such a part."""
  if getattr(splits, part) is None:
    return {}
  if part == "test" and not config.repeats:
    item_metrics.tell_taken(splits.test)
  rows = item_metrics.floors(splits, part, config.repeats)
  # Rows for the validation part have to be fast.
  if part == "test":
    scorer = item_baselines.factors(item_baselines.histories(splits, part))
    if scorer is not None:
      rows["ALS"] = item_metrics.floor(scorer, splits, part, config.repeats)
  return rows


def second_stage(
  problem: item_problems.Problem, variables: base.PyTree
) -> tuple[item_problems.Problem, base.PyTree]:
  """Returns a problem that continues training with constant item vectors.

  It is Recformer's second stage: the first one trains texts and histories, and
  its best variables are the initial ones of the second.

  Args:
    problem: problem of items by their text.
    variables: variables trained on it.

  Returns:
    The problem, which starts from the variables without the texts' network; and
    these variables.
  """
  second = copy.copy(problem)
  second.network, variables = problem.network.freeze(variables)
  second.known = variables[item_network.ITEMS]
  second.init = lambda key: variables
  return second, variables


def _adapted(line, splits):
  """The task with the strongest baseline's metrics of each user."""
  floor = functools.cache(functools.partial(item_metrics.strongest, splits))

  def more(config, arm, source):
    del source
    reference = functools.partial(floor, config.repeats)
    return functools.partial(_paired, splits, arm, reference)

  figures = item_metrics.figures_of(splits)
  return dataclasses.replace(line, figures=figures, more=more)


def _steered(splits, arm, program, variables):
  """The shares of recommended items that fulfill wishes, with and without."""
  has = recommendation_arms.wished(arm, splits)
  wishes = item_wishes.asked(has, len(splits.test.inputs))
  steering = functools.partial(item_wishes.steering, program.problem.network)
  shares = _of_users(program, steering, variables, splits, *wishes)
  return {name: per_seed.of(x.mean(axis=1)) for name, x in shares.items()}


def _paired(splits, arm, floor, program, variables, directory, trained):
  """Writes metrics of all users, and compares them with a baseline's."""
  # The file, with (seeds, users) arrays, is for paired tests of other arms.
  cold = jnp.asarray(item_metrics.cold_items(splits))
  function = functools.partial(program.problem.by_user, cold=cold)
  users = _of_users(program, function, variables, splits)
  if trained:
    np.savez(directory / USERS, **users)
  results, among_cold = {}, users["cold_hit_rate_10"]
  if arm.wish is not None:
    results |= _steered(splits, arm, program, variables)
  if np.isfinite(among_cold[0]).mean() > _COLD:
    results["cold_hit_rate_10"] = per_seed.of(np.nanmean(among_cold, axis=1))
  reference = floor()
  if reference is not None:
    mean, error = ranking.paired(users["ndcg_10"], reference)
    results["above_floor"] = per_seed.of(mean)
    results["above_floor_error"] = round(float(error), 4)
  return results


def _of_users(program, function, variables, splits, *arrays):
  """Arrays (seeds, users) by name, from a function of all test users."""
  pieces, begin = [], 0
  for batch in item_metrics.slices(splits, "test"):
    some = slice(begin, begin + len(batch.inputs))
    rows = (x[some] for x in arrays)
    pieces.append(program.measure(function, variables, batch, *rows))
    begin = some.stop
  return {
    name: np.concatenate([np.array(one[name]) for one in pieces], axis=1)
    for name in pieces[0]
  }


TASK = task.Task(
  name="recommendation",
  arm=recommendation_arms.ArmConfig,
  problem=lambda arm, splits, config: item_problems.make(arm, splits),
  metric="ndcg_10",
  better="higher",
  unit="histories",
  columns={
    "ndcg_10": "NDCG@10",
    "hit_rate_10": "HR@10",
    "mrr": "MRR",
    "coverage": "coverage",
    "novelty": "novelty (bits)",
    "cold_hit_rate_10": "HR@10 among new items",
    "rebuilt": "items rebuilt",
    "steered": "as wished",
    "unsteered": "as wished, unasked",
    "above_floor": "NDCG@10 above EASE, recency",
    "above_floor_error": "standard error by users",
  },
  kind="recommendation",
  outputs=outputs.Outputs(
    network=ItemNetwork,
    arguments=recommendation_answers.arguments,
    compute=recommendation_answers.compute,
    predict=recommendation_answers.predict,
    calibrate=item_linear.calibrate,
    stream=recommendation_answers.Stream,
  ),
  baselines=_baselines,
  adapt=_adapted,
  own_files=task.OwnFiles(fields={"from_ease": True}),
)
# Models of other classes, without states of users: they read the whole history
# again with every item, and have no streams.
CODES, SENTENCES = (
  dataclasses.replace(TASK.outputs, network=network, stream=None)
  for network in (
    semantic_network.SemanticNetwork,
    sentence_network.SentenceNetwork,
  )
)
