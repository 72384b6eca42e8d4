"""Generation by drafts: several tokens in one pass of the network.

A draft is a tree of guesses; the network reads all of it in one pass, and nodes
that agree with the network are accepted. The tokens are those of the network
alone: identical at a temperature of 0 and, with Token Recycling, for the same
key; and draws of the same distribution otherwise.

    draft = recycling.Recycling(recycling.SMALL_TREE, context=2)
    tokens, states, memory, passes = speculative.generate(
      network, variables, prompt, 100, key, draft=draft, temperature=0
    )

A pass sums in another order than single steps do, so that in float32 two tokens
whose logits differ only by rounding may be exchanged, as they may between
machines.
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

from jaxseq import validate
from jaxseq.generation import _draft_passes
from jaxseq.generation import _drafts
from jaxseq.generation import _network_checks
from jaxseq.generation import _prompts
from jaxseq.generation import _thin_states
from jaxseq.generation import constraints
from jaxseq.generation import recycling
from jaxseq.generation import token_sampling
from jaxseq.generation import tree_passes
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork

_DEFAULT = recycling.Recycling()


class Generated(NamedTuple):
  """Results of `generate`.

  Attributes:
    tokens: (*batch, length) int32.
    states: states after all tokens but the last; of ended rows, after all but
      the stop token.
    memory: memory of the draft, for other calls.
    passes: (*batch,) int32, passes of the network in which each row had not
      ended, without the reading of the prompt.
  """

  tokens: jax.Array
  states: PyTree
  memory: PyTree
  passes: jax.Array


def generate(
  network: TokenNetwork,
  variables: PyTree,
  prompt: jax.Array | Sequence[Any],
  length: int,
  key: jax.Array,
  *,
  draft: _drafts.Draft = _DEFAULT,
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
  key_channels: float = 1.0,
  whole_keys: int = 128,
  **options: Any,
) -> Generated:
  """Continues prompts by drafts, see `generation.generate`.

  Each row accepts as many tokens of a pass as it can, independently.

  Args:
    network: a `SequenceNetwork` of tokens that does not pool, or a hashable
      object with the same `apply` and `initial_state`.
    variables: of the network.
    prompt: (*batch, time) int tokens, at least one; or a list of arrays.
    length: number of tokens to generate, at least 1.
    key: random key.
    draft: method of drafting: a `recycling.Recycling`, or a
      `draft_model.DraftModel`, whose memory must be given.
    memory: memory of the draft from an earlier call; None for a fresh one.
    states: states before the prompt; fresh ones if None.
    lengths: as in `generation.generate`.
    reset: as in `generation.generate`.
    seeds: as in `generation.generate`.
    sampling: as in `generation.generate`.
    constraint: as in `generation.generate`.
    scheme: scheme of reading a tree, one of `tree_passes.SCHEMES`.
    key_channels: as in `generation.generate`; the prompt's last token is not
      one of the deciding ones.
    whole_keys: as in `generation.generate`.
    **options: as in `generation.generate`.

  Returns:
    Tokens, states, the memory of the draft, and numbers of passes.

  Raises:
    ValueError: as in `generation.generate`; or if the draft does not fit the
      network.
  """
  validate.integer("length", length, 1)
  scheme = tree_passes.choose_scheme(network, scheme)
  vocab = _network_checks.vocab_size(network, variables)
  prompts = _prompts.make_prompts(network, prompt, lengths, reset, states)
  if not callable(getattr(draft, "propose", None)):
    expected = "a draft: Recycling(), or DraftModel(network)"
    raise validate.error("draft", type(draft).__name__, expected)
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
  if not np.ndim(controls.temperature):
    controls = jax.tree.map(
      lambda leaf: np.broadcast_to(leaf, (count, *np.shape(leaf))), controls
    )
  history, states = flat(history), flat(states)
  rows = tokens, keys, memory, states, reset, controls, history
  arguments = variables, *rows, constraint
  thinning = _thin_states.parse(key_channels, whole_keys)
  result = _generate(network, length, draft, scheme, thinning, *arguments)
  per_row = result._replace(memory=None)
  return _reshape(per_row, (count,), batch)._replace(memory=result.memory)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _generate(
  network,
  length,
  draft,
  scheme,
  thinning,
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
  """Compiled part of `generate`."""
  progress = _draft_passes.begin(
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
    thinning=thinning,
  )
  rows = jnp.arange(len(prompt))[:, None]

  def body(carry):
    progress, tokens, passes = carry
    place = progress.rows.length[:, None]
    progress, verdict, _ = _draft_passes.advance(
      network,
      variables,
      progress,
      draft=draft,
      controls=controls,
      constraint=constraint,
      scheme=scheme,
    )
    order = jnp.arange(verdict.tokens.shape[1])
    place = jnp.where(order < verdict.count[:, None], place + order, length)
    tokens = tokens.at[rows, place].set(verdict.tokens, mode="drop")
    return progress, tokens, passes + (verdict.count > 0)

  tokens = jnp.zeros((len(prompt), length), jnp.int32)
  carry = progress, tokens, jnp.zeros(len(prompt), jnp.int32)
  progress, tokens, passes = lax.while_loop(
    lambda carry: jnp.any(~carry[0].done), body, carry
  )
  behind = jnp.arange(length) >= progress.rows.length[:, None]
  tokens = jnp.where(behind, progress.rows.token[:, None], tokens)
  return Generated(tokens, progress.states, progress.memory, passes)


def _reshape(values, old, new):
  """Reshapes arrays to other batch axes."""
  return jax.tree.map(
    lambda leaf: jnp.reshape(leaf, (*new, *jnp.shape(leaf)[len(old) :])), values
  )
