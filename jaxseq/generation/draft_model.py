"""Speculative sampling: a small network drafts, and the large one corrects it.

Leviathan et al., "Fast inference from Transformers via speculative decoding",
arXiv:2211.17192, algorithm 1. A drafted token x is accepted with probability
min(1, p(x) / q(x)), with q the small network's distribution and p the large
one's, both after the options of sampling; the first rejected token is replaced
by a draw from the positive part of p - q. The tokens are draws of p.

The small network may be recurrent: its states after every drafted token are
kept until it is known which are accepted.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from jaxseq import validate
from jaxseq.generation import _drafts
from jaxseq.generation import _network_checks
from jaxseq.generation import _row_states
from jaxseq.generation import token_sampling
from jaxseq.recurrence import tree as trees
from jaxseq.types import PyTree
from jaxseq.types import TokenNetwork

# Numbers that fold a row's key for draws other than tokens.
_DRAFT, _KEEP = 1, 2


class Memory(NamedTuple):
  """Memory of a drafting network.

  Attributes:
    variables: of the network.
    states: its states, leaves (rows, ...), after all tokens but the last;
      before the prompt, when generation starts. Fresh ones if None.
  """

  variables: PyTree
  states: PyTree = None


@dataclasses.dataclass(frozen=True)
class DraftModel:
  """Options of speculative sampling. Its memory is a `Memory`.

  Attributes:
    network: drafting network, with the same tokens as the network that corrects
      it.
    length: number of tokens that it drafts for a pass.
  """

  network: TokenNetwork
  length: int = 4

  def __post_init__(self):
    validate.positive("length", self.length)

  @functools.cached_property
  def tree(self) -> trees.Tree:
    """The last token, and the drafted ones one after the other."""
    return trees.chain(self.length + 1)

  def begin(self, memory: Memory | None, vocab: int, rows: int = 1) -> Memory:
    """Checks the network's variables and tokens, and makes fresh states."""
    expected = "draft_model.Memory(variables)"
    validate.instance("memory", memory, Memory, expected)
    size = _network_checks.vocab_size(self.network, memory.variables)
    if size != vocab:
      expected = f"{vocab}, as the network that reads the drafts has"
      raise validate.error("vocab_size of the draft's network", size, expected)
    if memory.states is not None:
      return memory
    states = _row_states.fresh_states(self.network, memory.variables, rows)
    return memory._replace(states=states)

  def read_prompt(
    self,
    memory: Memory,
    tokens: jax.Array,
    reset: jax.Array | None,
    logits: jax.Array,
  ) -> Memory:
    """Reads the prompts; the other network's logits are not needed."""
    del logits
    arguments = memory.variables, tokens, memory.states, reset
    _, states = _row_states.read(self.network, *arguments)
    return memory._replace(states=states)

  def propose(
    self, memory: Memory, recent: jax.Array, draws: _drafts.Draws
  ) -> _drafts.Guess:
    """Draws tokens one after the other.

    The source of the draft are the states (rows, nodes, ...) and the log
    probabilities (rows, nodes, vocab) after its nodes.
    """

    def body(carry, depth):
      token, states = carry
      logits, states = self.network.apply(
        memory.variables, token, states, method="step"
      )
      logits = draws.process(logits[:, None], depth[None])[:, 0]
      log_q = jax.nn.log_softmax(logits)
      keys = self._keys(draws, draws.length + depth, _DRAFT)
      following = jax.vmap(jax.random.categorical)(keys, log_q)
      following = following.astype(jnp.int32)
      return (following, states), (token, states, log_q)

    begin = recent[:, 1], memory.states
    _, nodes = lax.scan(body, begin, jnp.arange(self.tree.size))
    ids, states, log_q = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), nodes)
    return _drafts.Guess(ids, (states, log_q))

  def judge(
    self, guess: _drafts.Guess, logits: jax.Array, draws: _drafts.Draws
  ) -> _drafts.Verdict:
    """Keeps or corrects the drafted tokens."""
    ids, log_q = guess.ids, guess.source[1]
    depths = self.tree.depths
    log_p = jax.nn.log_softmax(draws.process(logits, depths))
    drafted = ids[:, 1:, None]
    gain = log_p[:, :-1] - log_q[:, :-1]
    gain = jnp.take_along_axis(gain, drafted, axis=-1)[..., 0]
    places = draws.length[:, None] + depths[:-1]
    keys = self._keys(draws, places, _KEEP)
    uniform = jax.vmap(jax.vmap(jax.random.uniform))(keys)
    accepted = jnp.cumprod(jnp.log(uniform) < gain, axis=1)
    count = jnp.sum(accepted, axis=1) + 1
    at = (count - 1)[:, None, None]
    p = jnp.exp(jnp.take_along_axis(log_p, at, axis=1)[:, 0])
    q = jnp.exp(jnp.take_along_axis(log_q, at, axis=1)[:, 0])
    all_kept = (count == self.tree.size)[:, None]
    rest = jnp.where(all_kept, p, jnp.maximum(p - q, 0))
    # By rounding, equal distributions may have no positive difference.
    nothing = jnp.sum(rest, axis=-1, keepdims=True) == 0
    rest = jnp.log(jnp.where(nothing, p, rest))
    keys = token_sampling.fold(draws.keys, draws.length + count - 1)
    last = jax.vmap(jax.random.categorical)(keys, rest)
    nodes = jnp.broadcast_to(np.arange(self.tree.size), ids.shape)
    following = jnp.roll(ids, -1, axis=1)
    tokens = jnp.where(
      nodes == count[:, None] - 1, last[:, None].astype(jnp.int32), following
    )
    return _drafts.Verdict(nodes, count, tokens)

  def learn(
    self,
    memory: Memory,
    recent: jax.Array,
    guess: _drafts.Guess,
    logits: jax.Array,
    verdict: _drafts.Verdict,
  ) -> Memory:
    """Goes back to the states after the accepted tokens, if any are."""
    del recent, logits
    last = jnp.maximum(verdict.count - 1, 0)
    after = trees.after_node(guess.source[0], last)
    states = _row_states.where(verdict.count > 0, after, memory.states)
    return memory._replace(states=states)

  def _keys(self, draws, places, use):
    """Returns keys of draws other than those of tokens."""
    keys = token_sampling.fold(draws.keys, np.uint32(2**32 - use))
    if places.ndim > 1:
      keys = jnp.broadcast_to(keys[:, None], places.shape)
    return token_sampling.fold(keys, places)
