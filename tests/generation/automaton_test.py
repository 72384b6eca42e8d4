import itertools
import json
import operator
import re
import time
import tracemalloc

import chex
import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq import nn
from jaxseq.generation import automaton

_ATOMS = ["a", "b", ".", r"\d", r"\W", "[a-c]", "[^b]", "é", "[à-ü]", "(?:)"]
_ALPHABET = "abc09é ü\n_€😀"


def _joined(children):
  return strategies.one_of(
    strategies.tuples(children, children).map("".join),
    strategies.tuples(children, children).map(lambda x: f"({x[0]}|{x[1]})"),
    strategies.tuples(
      children, strategies.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])
    ).map(lambda x: f"(?:{x[0]}){x[1]}"),
  )


_PATTERNS = strategies.recursive(
  strategies.sampled_from(_ATOMS), _joined, max_leaves=6
)
_TEXTS = strategies.text(strategies.sampled_from(_ALPHABET), max_size=8)


def _matches(found, content, end):
  """Follows a text through the tables, token by token."""
  permitted, table = map(np.asarray, (found.permitted, found.transitions))
  state = 0
  for token in [*content, end]:
    if not permitted[state, token]:
      return False
    state = table[state, token]
  return True


@hypothesis.given(_PATTERNS, strategies.lists(_TEXTS, min_size=4, max_size=12))
@hypothesis.settings(max_examples=60, deadline=None)
def test_texts_and_their_ends_are_permitted_as_re_matches(pattern, texts):
  expected = re.compile(pattern, re.ASCII)
  # No text has a zero byte.
  found = automaton.compile_pattern(pattern, end_token=0)
  for text in texts:
    matches = expected.fullmatch(text) is not None
    assert _matches(found, text.encode(), 0) == matches, text


@hypothesis.given(
  strategies.sampled_from([b"[^a]*", b"a.b", b"\\xff+|\\W", b"[\x80-\xff]{2}"]),
  strategies.binary(max_size=4),
)
@hypothesis.settings(max_examples=60, deadline=None)
def test_patterns_of_bytes_match_single_bytes(pattern, content):
  hypothesis.assume(0 not in content)
  matches = re.fullmatch(pattern, content) is not None
  found = automaton.compile_pattern(pattern, end_token=0)
  assert _matches(found, content, 0) == matches


@hypothesis.given(strategies.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=60, deadline=None)
def test_as_few_states_as_can_be(seed):
  rng = np.random.default_rng(seed)
  states, letters = rng.integers(1, 9), rng.integers(1, 4)
  table = rng.integers(-1, states, (states, letters))
  accepting = rng.random(states) < 0.5
  small, ends = automaton._minimized(table, accepting)

  # Rounds of Moore's: states that no text so far tells apart.
  whole = np.vstack([table, np.full(letters, -1)])
  groups = np.append(accepting, False).astype(int)
  for _ in whole:
    each = np.column_stack([groups, groups[whole]])
    groups = np.unique(each, axis=0, return_inverse=True)[1].reshape(-1)
  # All but that from which nothing is accepted, if there is one.
  needed = set(groups) - {groups[-1]} | {groups[0]}
  assert len(small) in (len(needed), len(set(groups)))

  # The same texts are accepted, all up to a length.
  for text in itertools.product(range(letters), repeat=5):
    left, right = 0, 0
    for letter in text:
      assert (left >= 0 and accepting[left]) == (right >= 0 and ends[right])
      left = table[left, letter] if left >= 0 else -1
      right = small[right, letter] if right >= 0 else -1


def test_long_repetitions_are_quick():
  start = time.process_time()
  made = automaton.compile_pattern("[a-z]{1,4000}", end_token=0)
  assert len(made.transitions) == 4003
  # Half a second; a minute for what compares all states in each round.
  assert time.process_time() - start < 8


def test_what_cannot_be_ended_any_more_is_not_permitted():
  found = automaton.compile_pattern("ab|ac*d", end_token=0)
  state = found.initial()
  np.testing.assert_array_equal(np.flatnonzero(found.allowed(state)), [97])
  state = found.advance(state, jnp.asarray(97))
  np.testing.assert_array_equal(
    np.flatnonzero(found.allowed(state)), [98, 99, 100]
  )
  state = found.advance(state, jnp.asarray(98))
  for _ in range(2):  # The end, and what follows it.
    np.testing.assert_array_equal(np.flatnonzero(found.allowed(state)), [0])
    state = found.advance(state, jnp.asarray(0))
  astray = found.advance(found.initial((2, 3)), jnp.full((2, 3), 98))
  assert not found.allowed(astray).any()


def test_tokens_of_several_bytes():
  tokens = [b"", b"a", b"b", b"ab", b"ba", b"abab", b"c"]
  found = automaton.compile_pattern("(ab)*", tokens=tokens, end_token=0)
  state = found.initial()
  assert np.flatnonzero(found.allowed(state)).tolist() == [0, 1, 3, 5]
  state = found.advance(state, jnp.asarray(1))
  assert np.flatnonzero(found.allowed(state)).tolist() == [2, 4]


def test_beams_write_what_the_pattern_says():
  config = nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))
  network = nn.SequenceNetwork(config, 256, 256)
  prompt = jnp.asarray([list(b"say: "), list(b"and: ")])
  variables = jax.jit(network.init)(jax.random.key(0), prompt)
  pattern = r'\{"name": "[a-z]{1,4}", "age": [1-9]\d?\}'
  found = generation.beam_search(
    network,
    variables,
    prompt,
    30,
    beams=4,
    groups=2,
    strength=0.5,
    end_token=0,
    constraint=automaton.compile_pattern(pattern, end_token=0),
  )
  for row in np.asarray(found.tokens).reshape(8, 30):
    text = bytes(row.tolist()).rstrip(b"\0").decode()
    assert re.fullmatch(pattern, text)
    assert set(json.loads(text)) == {"name", "age"}
  assert np.all(np.isfinite(found.log_prob))


@pytest.mark.parametrize("groups", [1, 2])
def test_beams_end_where_the_pattern_does(groups):
  config = nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))
  network = nn.SequenceNetwork(config, 4, 4)
  prompt = jnp.asarray([[1, 2]])
  variables = jax.jit(network.init)(jax.random.key(0), prompt)
  tokens = [b"c", b"d", b"a", b"b"]
  constraint = automaton.compile_pattern("a|cd", tokens=tokens)

  def search(prompt, length, beams=2 * groups, groups=groups, **options):
    return generation.beam_search(
      *(network, variables, prompt, length),
      beams=beams,
      groups=groups,
      **options,
    )

  # As `generate` does, beams repeat their last token.
  texts = {(2, 2, 2, 2): [2], (0, 1, 1, 1): [0, 1]}
  found = search(prompt, 4, constraint=constraint, length_penalty=0.5)
  short = search(prompt, 2, constraint=constraint, length_penalty=0.5)
  np.testing.assert_array_equal(found.log_prob, short.log_prob)
  np.testing.assert_array_equal(found.selection, short.selection)
  assert np.isfinite(found.log_prob).all()
  for group in range(groups):
    rows = [tuple(row) for row in np.asarray(found.tokens[0, group]).tolist()]
    assert set(rows) == set(texts)
    for beam, row in enumerate(rows):
      assert found.count[0, group, beam] == len(texts[row])
      whole = jnp.asarray([[1, 2, *texts[row]]])
      _, states = network.apply(variables, whole)
      ours = jax.tree.map(operator.itemgetter((0, group, beam)), found.states)
      states = jax.tree.map(operator.itemgetter(0), states)
      chex.assert_trees_all_close(ours, states, rtol=1e-5)
  # Or they are dropped.
  options = {"beams": 2, "groups": 1, "end_at_match": False}
  dropped = search(prompt, 2, constraint=constraint, **options)
  assert dropped.tokens[0, 0, 0].tolist() == [0, 1]
  np.testing.assert_array_equal(jnp.isfinite(dropped.log_prob[0]), [[1, 0]])
  best = generation.ranked(found, length_penalty=0.5)
  scores = best.log_prob / best.count**0.5
  assert np.all(np.diff(scores[0]) <= 0)


@pytest.mark.parametrize(
  ("pattern", "place", "message"),
  [
    ("(a", 2, "a closing parenthesis"),
    ("a)", 1, "an opening parenthesis before it"),
    ("[a", 2, "the pattern to go on"),
    ("ab\\", 3, "the pattern to go on"),
    ("b|*a", 2, "something before '*' to repeat"),
    ("a**", 2, "one quantifier"),
    ("a*+", 2, "no possessive quantifier"),
    ("a{2}{3}", 4, "one quantifier"),
    ("a{3,2}", 1, "no fewer repetitions at most than at least"),
    ("a{200001}", 1, "at most 200000 repetitions"),
    ("a$", 1, "no anchor: the whole text is matched"),
    ("b(?=a)", 1, "a group (...), (?:...) or (?P<name>...)"),
    (r"(a)\1", 3, r"no \1"),
    ("[cz-a]", 2, "a range of characters, from the lower one on"),
    (r"[\w-z]", 1, "a range of characters, from the lower one on"),
    (r"[^\D-z]", 2, "a range of characters, from the lower one on"),
    (r"[^\d-z]", 2, "a range between two characters"),
    (r"a\xg0", 3, "2 hexadecimal digits"),
    (r"\U00110000", 2, "at most 10ffff in hexadecimal digits"),
    (r"a\07", 1, r"\x and two digits, not octal ones"),
    (rb"a\u0041", 1, r"no \u"),
  ],
)
def test_the_place_of_a_mistake_is_its_first_character(pattern, place, message):
  with pytest.raises(ValueError, match=r"^pattern: got .*") as raised:
    automaton.compile_pattern(pattern)
  said = f", at place {place} (the first is 0), expected {message}."
  assert str(raised.value).endswith(said)


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("(a{999}){999}", "fewer than 200000 states"),
    (b"[^\\x00-\\xff]", "no text matches it"),
    ("", "pattern: only the empty text matches it. Pass an end_token."),
    (7, "pattern: got 7, expected a str or bytes"),
  ],
)
def test_bad_patterns(pattern, message):
  with pytest.raises(ValueError, match=message):
    automaton.compile_pattern(pattern)


def test_work_is_bounded():
  with pytest.raises(ValueError, match="too many of its parts can match at a"):
    automaton.compile_pattern("(a?){900}", most_states=2000)


def test_bad_tables():
  with pytest.raises(
    ValueError, match="states from -1 to 3', expected -1 to 1"
  ):
    automaton.from_table([[-1, 3], [0, 0]], [False, True])
  with pytest.raises(ValueError, match="accepting: got shape"):
    automaton.from_table([[-1, 1], [0, 0]], [True])


@pytest.mark.slow
def test_what_is_drawn_is_what_the_pattern_says():
  config = nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))
  network = nn.SequenceNetwork(config, 256, 256)
  prompt = jnp.asarray([list(b"say: ")] * 16)
  variables = jax.jit(network.init)(jax.random.key(0), prompt)
  pattern = "[a-f]{2,5}|é+ü"
  tokens, _ = generation.generate(
    network,
    variables,
    prompt,
    12,
    jax.random.key(1),
    constraint=automaton.compile_pattern(pattern, end_token=0),
  )
  texts = {bytes(row.tolist()).rstrip(b"\0") for row in np.asarray(tokens)}
  whole = [text for text in texts if len(text) < 12]
  assert len(whole) > 4
  for text in whole:
    assert re.fullmatch(pattern, text.decode())


def _followed(found, tokens):
  """Whether each token is allowed after those before it."""
  state = found.initial()
  for token in tokens:
    if not found.allowed(state)[token]:
      return False
    state = found.advance(state, jnp.asarray(token))
  return True


@pytest.mark.slow
@hypothesis.given(_PATTERNS, strategies.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=25, deadline=None)
def test_vocabularies_permit_what_the_table_of_all_tokens_does(pattern, seed):
  """Also where some bytes are no tokens of their own."""
  rng = np.random.default_rng(seed)
  letters = [c.encode() for c in _ALPHABET] + [b"", b"\xc3", b"\xa9"]
  tokens = [
    b"".join(letters[i] for i in rng.integers(len(letters), size=size))
    for size in rng.integers(0, 4, size=12)
  ]
  end = int(rng.integers(12))
  made = automaton.over_bytes(pattern)
  table = np.vstack([made.table, np.full(made.table.shape[1], -1)])

  def after(state, token):
    for byte in token:
      state = table[state, made.column[byte]]
    return state if token else -1

  states = range(len(made.table))
  whole = np.array(
    [[after(state, token) for token in tokens] for state in states]
  )
  try:
    expected = automaton.from_table(whole, made.accepting, end_token=end)
  except ValueError:
    with pytest.raises(ValueError, match="no text of the tokens matches it"):
      automaton.compile_pattern(pattern, tokens=tokens, end_token=end)
    return
  found = automaton.compile_pattern(pattern, tokens=tokens, end_token=end)
  everywhere = jnp.arange(len(whole) + 2)
  np.testing.assert_array_equal(found.allowed(everywhere), expected.permitted)
  for token in range(12):
    following = found.advance(everywhere, jnp.full(len(everywhere), token))
    permitted = np.asarray(expected.permitted[:, token])
    np.testing.assert_array_equal(
      np.asarray(following)[permitted],
      np.asarray(expected.transitions)[permitted, token],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
  ("pattern", "count"),
  [
    pytest.param(r".{2000}", 20_000, marks=pytest.mark.slow),
    pytest.param(r"(a|b)*a(a|b){10}", 20_000, marks=pytest.mark.slow),
    (r"(a|b)*a(a|b){10}", 4_000),
  ],
)
def test_a_vocabulary_takes_little_time_and_memory(pattern, count):
  rng = np.random.default_rng(0)
  tokens = [bytes([i]) for i in range(256)]
  tokens += [
    bytes(rng.choice([*b" abcdetnrs"], i % 9 + 2)) for i in range(count)
  ]
  share = len(tokens) / 20_256
  start = time.process_time()
  tracemalloc.start()
  found = automaton.compile_pattern(pattern, tokens=tokens)
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  # Of all tokens a few seconds, and 60 MB of tables with as much beside them;
  # once 3 GB.
  assert time.process_time() - start < 40 * share
  assert most < 5e8 * share
  assert sum(leaf.nbytes for leaf in jax.tree.leaves(found)) < 8e7 * share


def test_odd_tokens():
  tokens = [b"a" * 2000, b"a", b""]
  found = automaton.compile_pattern("a{2001}", tokens=tokens)
  assert _followed(found, [0, 1])
  assert not _followed(found, [0, 0])
  with pytest.raises(ValueError, match=r"tokens\[1\]: got 'str', expected byt"):
    automaton.compile_pattern("a", tokens=[b"a", "b"])
  with pytest.raises(ValueError, match="number of tokens: got 0, expected"):
    automaton.compile_pattern("a", tokens=[])
  many = [b"a"] * 2**20
  with pytest.raises(ValueError, match="pattern: got '603 states', expected a"):
    automaton.compile_pattern("a{600}", tokens=many)


def test_a_mistaken_pattern_is_shown_as_it_was_written():
  with pytest.raises(ValueError, match=r"pattern: got '\\d\(\\', at place 4 "):
    automaton.compile_pattern("\\d(\\")
