"""Generation by drafts: several tokens in one pass of the network.

A draft guesses what comes next, as a tree; the network reads all of it in one
pass, and what agrees with the network is accepted. The tokens are those that
the network alone would give: the very ones with a temperature of 0 and, with
Token Recycling, of the same key; and draws of the same distribution otherwise.

    draft = recycling.Recycling(recycling.SMALL_TREE, context=2)
    tokens, states, memory, passes = speculative.generate(
      network, variables, prompt, 100, key, draft=draft, temperature=0
    )

A pass sums in another order than single steps do, so that in float32 two
tokens whose logits are as near to each other as rounding may change places, as
they may between machines.
"""

from collections.abc import Sequence
import functools
import math
from typing import Any
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import _validate
from jaxseq._types import PyTree
from jaxseq.generation import _network_checks
from jaxseq.generation import _pasts
from jaxseq.generation import _prompts
from jaxseq.generation import _row_states
from jaxseq.generation import constraints
from jaxseq.generation import drafts
from jaxseq.generation import recycling
from jaxseq.generation import token_sampling
from jaxseq.generation import tree_passes
from jaxseq.recurrence import tree as trees

_DEFAULT = recycling.Recycling()


class Generated(NamedTuple):
  """Results of `generate`.

  Attributes:
    tokens: (*batch, length) int32.
    states: states after all tokens but the last; of rows that have ended, but
      the one that ended them.
    memory: what the draft remembers, for other calls.
    passes: (*batch,) int32, passes of the network in which each row had not
      ended; the reading of the prompt is none.
  """

  tokens: jax.Array
  states: PyTree
  memory: PyTree
  passes: jax.Array


class Progress(NamedTuple):
  """Rows in the middle of generation.

  Attributes:
    keys: (rows,) random keys.
    states: states after all tokens but the last, leaves (rows, ...).
    memory: what the draft remembers.
    recent: (rows, 2) int32, the last two tokens.
    tokens: (rows, length) int32, those generated and, behind these, 0.
    length: (rows,) int32, how many are generated.
    limit: (rows,) int32, how many there are at most.
    ended: (rows,) bool, whether the last one is one that ends its row.
    passes: (rows,) int32, passes in which the row had not ended.
    past: what the tokens so far say about the next one's drawing.
  """

  keys: jax.Array
  states: PyTree
  memory: PyTree
  recent: jax.Array
  tokens: jax.Array
  length: jax.Array
  limit: jax.Array
  ended: jax.Array
  passes: jax.Array
  past: _pasts.Past

  @property
  def done(self) -> jax.Array:
    """(rows,) bool: whether nothing is left to generate."""
    return self.ended | (self.length >= self.limit)


def generate(
  network: Any,
  variables: PyTree,
  prompt: jax.Array | Sequence[Any],
  length: int,
  key: jax.Array,
  *,
  draft: drafts.Draft = _DEFAULT,
  memory: PyTree = None,
  states: PyTree = None,
  lengths: jax.Array | None = None,
  reset: jax.Array | None = None,
  seeds: jax.Array | None = None,
  sampling: token_sampling.Sampling
  | Sequence[token_sampling.Sampling]
  | None = None,
  constraint: constraints.Constraint | None = None,
  scheme: str = "auto",
  **options: Any,
) -> Generated:
  """Continues prompts by drafts; see `generation.generate`, also for the rest.

  Each row accepts as many tokens of a pass as it can, whatever the others do.

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or an object that
      is hashable and has the same `apply` and `initial_state`.
    variables: of the network.
    prompt: (*batch, time) int tokens, at least one; or a list of arrays.
    length: number of tokens to generate, at least 1.
    key: random key.
    draft: what makes drafts: a `recycling.Recycling`, or a
      `draft_model.DraftModel`, whose memory must be given.
    memory: what the draft remembers of an earlier call; None for nothing.
    states: states before the prompt; fresh ones if None.
    lengths: as in `generation.generate`.
    reset: likewise.
    seeds: likewise.
    sampling: likewise.
    constraint: likewise.
    scheme: how a tree is read, one of `tree_passes.SCHEMES`.
    **options: as in `generation.generate`.

  Returns:
    Tokens, states, what the draft remembers, and numbers of passes.

  Raises:
    ValueError: as in `generation.generate`; or if the draft does not fit the
      network.
  """
  _validate.integer("length", length, 1)
  scheme = tree_passes.choose_scheme(network, scheme)
  vocab = _network_checks.vocab_size(network, variables)
  prompts = _prompts.make_prompts(network, prompt, lengths, reset, states)
  if not callable(getattr(draft, "propose", None)):
    expected = "a draft: Recycling(), or DraftModel(network)"
    raise _validate.error("draft", type(draft).__name__, expected)
  batch = prompts.tokens.shape[:-1]
  controls, penalizes = _prompts.controls(vocab, options, sampling, batch)
  constraints.check(constraint, vocab)
  history = None
  if penalizes:
    history = _prompts.make_history(prompts, vocab)
  count = math.prod(batch)
  keys = _prompts.row_keys(key, seeds, batch).reshape(count)
  memory = draft.begin(memory, vocab, count)
  flat = functools.partial(_reshape, old=batch, new=(count,))
  tokens, reset = map(flat, prompts)
  wide = dict.fromkeys(controls._fields, ())
  wide["stop"] = (vocab,)
  controls = controls._replace(
    **{
      name: np.broadcast_to(getattr(controls, name), (*batch, *shape)).reshape(
        count, *shape
      )
      for name, shape in wide.items()
    }
  )
  history, states = flat(history), flat(states)
  rows = tokens, keys, memory, states, reset, controls, history
  arguments = variables, *rows, constraint
  result = _generate(network, length, draft, scheme, *arguments)
  tokens, states, passes = _reshape(
    (result.tokens, result.states, result.passes), (count,), batch
  )
  return Generated(tokens, states, result.memory, passes)


def begin(
  network: Any,
  variables: PyTree,
  prompt: jax.Array,
  length: int,
  keys: jax.Array,
  *,
  draft: drafts.Draft,
  memory: PyTree = None,
  states: PyTree = None,
  reset: jax.Array | None = None,
  history: token_sampling.History | None = None,
  constraint: constraints.Constraint | None = None,
) -> Progress:
  """Reads prompts but for their last tokens, at which the drafts begin.

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or anything
      hashable with the same `apply` and `initial_state`.
    variables: of the network.
    prompt: (rows, time) int tokens, at least one.
    length: number of tokens to generate.
    keys: (rows,) random keys.
    draft: what makes drafts.
    memory: what it remembers of earlier calls; None for nothing.
    states: states before the prompt, leaves (rows, ...); fresh ones if None.
    reset: (rows, time) bool; where true the states are fresh before that token.
    history: of the prompts, for penalties.
    constraint: on what is generated.

  Returns:
    What `advance` goes on from.
  """
  rows = len(prompt)
  prompt = jnp.asarray(prompt, jnp.int32)
  memory = draft.begin(
    memory, _network_checks.vocab_size(network, variables), rows
  )
  fresh = _row_states.fresh_states(network, rows)
  if states is None:
    states = fresh
  if prompt.shape[1] > 1:
    flags = None if reset is None else reset[:, :-1]
    options = {} if reset is None else {"reset": flags}
    tokens = prompt[:, :-1]
    logits, states = network.apply(variables, tokens, states, **options)
    memory = draft.read_prompt(memory, tokens, flags, logits)
  if reset is not None:
    states = _row_states.where(reset[:, -1], fresh, states)
  recent = jnp.pad(prompt, [(0, 0), (1, 0)])[:, -2:]
  return Progress(
    keys,
    states,
    memory,
    recent,
    tokens=jnp.zeros((rows, length), jnp.int32),
    length=jnp.zeros((rows,), jnp.int32),
    limit=jnp.full((rows,), length, jnp.int32),
    ended=jnp.zeros((rows,), bool),
    passes=jnp.zeros((rows,), jnp.int32),
    past=_pasts.begin(constraint, history, (rows,)),
  )


def advance(
  network: Any,
  variables: PyTree,
  progress: Progress,
  *,
  draft: drafts.Draft,
  controls: token_sampling.Controls,
  constraint: constraints.Constraint | None = None,
  scheme: str = "auto",
) -> tuple[Progress, drafts.Verdict]:
  """Makes one draft, and reads it.

  Args:
    network: as in `begin`.
    variables: of the network.
    progress: of all rows; those that are done stay as they are.
    draft: what makes drafts.
    controls: options of sampling, with rows in front.
    constraint: as in `begin`.
    scheme: how a tree is read, one of `tree_passes.SCHEMES`.

  Returns:
    The progress, and what was accepted: nothing of rows that were done, and no
    more than what was left to generate.
  """
  how = draft, controls, constraint, scheme
  progress, verdict, _ = advance_with_logs(network, variables, progress, *how)
  return progress, verdict


def advance_with_logs(
  network: Any,
  variables: PyTree,
  progress: Progress,
  draft: drafts.Draft,
  controls: token_sampling.Controls,
  constraint: constraints.Constraint | None,
  scheme: str,
) -> tuple[Progress, drafts.Verdict, jax.Array]:
  """Makes one draft, and reads it; see `advance`.

  Returns:
    As `advance`, and the log probabilities that the network gives the verdict's
    tokens, (rows, depth).
  """
  draws = drafts.Draws(progress.keys, controls, progress.length)
  guess = draft.propose(progress.memory, progress.recent, draws)
  arguments = guess.ids, progress.states, draft.tree, scheme
  result = tree_passes.read(network, variables, *arguments)
  pasts = _pasts.at_nodes(constraint, progress.past, guess.ids, draft.tree)
  draws = draws._replace(
    history=pasts.history, allowed=_pasts.allowed(constraint, pasts)
  )
  verdict = draft.judge(guess, result.logits, draws)
  space = jnp.where(progress.ended, 0, progress.limit - progress.length)
  count = jnp.minimum(verdict.count, space)
  order = jnp.arange(verdict.tokens.shape[1])
  ends = jnp.take_along_axis(controls.stop, verdict.tokens, axis=1)
  # The past after each token that follows an accepted node.
  pasts = _pasts.after_nodes(pasts, verdict.nodes)
  pasts = _pasts.extend(constraint, pasts, verdict.tokens)
  if constraint is not None:
    some = jnp.any(_pasts.allowed(constraint, pasts), axis=-1)
    ends = ends | ~some
  ends = ends & (order < count[:, None])
  ended = jnp.any(ends, axis=1)
  count = jnp.where(ended, jnp.argmax(ends, axis=1) + 1, count)
  count = count.astype(jnp.int32)
  verdict = verdict._replace(count=count)
  states = tree_passes.commit(
    network, variables, result, verdict.nodes, count, draft.tree, scheme
  )
  memory = draft.learn(
    progress.memory, progress.recent, guess, result.logits, verdict
  )
  newest = jnp.concatenate([progress.recent, verdict.tokens], axis=1)
  last = count[:, None] + jnp.arange(2)
  place = jnp.where(
    order < count[:, None],
    progress.length[:, None] + order,
    progress.tokens.shape[1],
  )
  rows = jnp.arange(len(count))[:, None]
  progress = Progress(
    progress.keys,
    states,
    memory,
    recent=jnp.take_along_axis(newest, last, axis=1),
    tokens=progress.tokens.at[rows, place].set(verdict.tokens, mode="drop"),
    length=progress.length + count,
    limit=progress.limit,
    ended=progress.ended | ended,
    passes=progress.passes + (count > 0),
    past=_row_states.where(
      count > 0,
      trees.after_node(pasts, jnp.maximum(count - 1, 0)),
      progress.past,
    ),
  )
  logs = jax.nn.log_softmax(result.logits)
  logs = jax.vmap(lambda x, *at: x[at])(logs, verdict.nodes, verdict.tokens)
  return progress, verdict, logs


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _generate(
  network,
  length,
  draft,
  scheme,
  variables,
  prompt,
  keys,
  memory,
  states,
  reset,
  controls,
  history,
  constraint,
):
  """The compiled part of `generate`."""
  progress = begin(
    network,
    variables,
    prompt,
    length,
    keys,
    draft=draft,
    memory=memory,
    states=states,
    reset=reset,
    history=history,
    constraint=constraint,
  )
  how = {
    "draft": draft,
    "controls": controls,
    "constraint": constraint,
    "scheme": scheme,
  }
  progress = lax.while_loop(
    lambda progress: jnp.any(~progress.done),
    lambda progress: advance(network, variables, progress, **how)[0],
    progress,
  )
  behind = jnp.arange(length) >= progress.length[:, None]
  tokens = jnp.where(behind, progress.recent[:, 1:], progress.tokens)
  return progress._replace(tokens=tokens)


def _reshape(values, old, new):
  """Arrays with other axes of a batch."""
  return jax.tree.map(
    lambda leaf: jnp.reshape(leaf, (*new, *jnp.shape(leaf)[len(old) :])), values
  )
