import re

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import generation
from jaxseq.generation import automaton
from jaxseq.generation import pattern_pool
from tests.generation import networks

SMALL = generation.EngineConfig(slots=3, lines=2, chunk=4, steps=5)
# Three patterns of 16 rows fit at a time.
TIGHT = generation.PatternConfig(states=64)
PATTERNS = (None, "[a-c]{3,9}x", r"\d{4}-\d\d", "yes|no", "[a-z ]+[.]", "é{2}")


def _engine(patterns=TIGHT, **options):
  network, variables = networks.make("gru", vocab_size=256)
  return generation.Engine(
    network, variables, SMALL, patterns=patterns, **options
  )


def _requests(count):
  return [
    generation.Request(
      list(b"abc")[: 1 + i % 3],
      12,
      seed=i,
      count=1 + i % 2,
      pattern=PATTERNS[i % len(PATTERNS)],
    )
    for i in range(count)
  ]


@pytest.mark.slow
def test_rows_are_those_of_their_constraints_alone():
  engine = _engine()
  requests = _requests(8)
  results = engine.run(requests)
  assert not engine.busy
  made = [
    request.pattern and automaton.compile_pattern(request.pattern)
    for request in requests
  ]
  for request, constraint, rows in zip(requests, made, results):
    assert len(rows) == request.count
    count = len(request.prompt)
    whole, _ = generation.generate(
      engine.network,
      networks.make("gru", vocab_size=256)[1],
      np.array([[*request.prompt, *[0] * (3 - count)]]),
      request.length,
      jax.random.key(0),
      lengths=[count],
      seeds=[request.seed],
      constraint=constraint,
    )
    tokens = rows[0].tokens
    # What follows an end is the last token.
    padding = [tokens[-1]] * (request.length - len(tokens))
    np.testing.assert_array_equal(whole[0], [*tokens, *padding])
    for row in rows:
      text = bytes(row.tokens.tolist())
      if row.reason == "match":
        assert re.fullmatch(request.pattern, text.decode())
      else:
        assert len(text) == request.length


def test_an_end_token_ends_a_text():
  engine = _engine(generation.PatternConfig(end_token=0))
  request = generation.Request([65], 30, pattern="[ab]+", count=4)
  (rows,) = engine.run([request])
  texts = [bytes(row.tokens.tolist()) for row in rows]
  assert all(re.fullmatch(rb"[ab]+\0?", text) for text in texts)
  assert {row.reason for row in rows} <= {"match", "length"}
  assert any(text.endswith(b"\0") for text in texts)


def test_patterns_that_are_given_up_make_room():
  engine = _engine()
  numbers = [
    engine.submit(generation.Request([1], 50, pattern=f"{letter}[a-z]*"))
    for letter in "klmno"
  ]
  engine.advance()
  engine.advance()
  # Three have the room that there is; the others wait for it.
  assert engine.running == 3
  for number in numbers[:3]:
    engine.cancel(number)
  engine.advance()
  assert engine.running == 2
  for number in numbers[3:]:
    engine.cancel(number)
  assert not engine.busy
  requests = _requests(6)
  fresh = _engine().run(requests)
  for rows, expected in zip(engine.run(requests), fresh):
    for row, other in zip(rows, expected):
      np.testing.assert_array_equal(row.tokens, other.tokens)


@pytest.mark.slow
def test_what_needs_no_room_does_not_wait_for_who_does():
  engine = _engine(generation.PatternConfig(states=48))
  long = generation.Request([1], 60, pattern="[a-z]*")
  holder = engine.submit(long)
  waits = engine.submit(generation.Request([1], 30, pattern="[b-z]{20,25}"))
  plain = engine.submit(generation.Request([2], 4))
  begun = []
  for _ in range(5):
    begun += [event.request for event in engine.advance()]
  assert set(begun) == {holder, plain}
  # Others that take up room do not pass it for ever.
  others = [engine.submit(long) for _ in range(20)]
  for _ in range(400):
    if not engine.busy:
      break
    begun += [event.request for event in engine.advance()]
  assert not engine.busy
  order = sorted(set(begun), key=begun.index)
  assert order.index(waits) == 2 + 16
  assert set(order[2:18]) == set(others[:16])


def test_nothing_goes_for_what_has_no_room_even_so():
  pool = pattern_pool.PatternPool(2, _TWO)
  patterns = [bytes([0]) * n for n in (3, 4, 5)]
  for pattern in patterns:
    pool.take(pattern)
  pool.give_back(patterns[0])
  pool.give_back(patterns[2])
  table = pool.table
  assert pool.take(b"\0" * 90) is None
  # All are still there: nothing has to be written for them.
  for pattern in patterns:
    pool.take(pattern)
  assert pool.table is table


def test_memory_is_bounded_for_any_number_of_patterns():
  pool = pattern_pool.PatternPool(2, generation.PatternConfig(128, _TWO.tokens))
  room = 128 * pattern_pool.row_bytes(2)
  for length in range(1, 60):
    pool.check(b"\0" * length)
    assert room < pool.nbytes <= 2 * room
  # What is compiled and gone is compiled again.
  assert pool.take(b"\0") is not None


def test_sizes_in_messages_are_those_of_the_pattern():
  engine = _engine(generation.PatternConfig(states=96))
  # More than half of the room: 66 rows, not 128.
  engine.prepare(generation.Request([1], 5, pattern="a{63}"))


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("[a", "pattern"),
    ("a{80}", "pattern: got '83 states', expected at most 48 with Pat"),
    ("[ab]*a[ab]{14}", "pattern: it takes more than 10000 states"),
    ("(" * 2000 + ")" * 2000, "pattern: got .* expected groups that are less"),
    ("", "pattern: got '', expected one that more than the empty text"),
    ("a{0}", "pattern: got '.*', expected one that more than the empty text"),
  ],
)
def test_bad_patterns(pattern, message):
  engine = _engine()
  with pytest.raises(ValueError, match=message):
    engine.submit(generation.Request([1], 5, pattern=pattern))
  assert not engine.busy


def test_bad_engines():
  with pytest.raises(ValueError, match="pattern: got 'a', expected None"):
    _engine(None).submit(generation.Request([1], 5, pattern="a"))
  with pytest.raises(ValueError, match="pattern: got 'int', expected str"):
    generation.Request([1], 5, pattern=3)
  constraint = automaton.compile_pattern("a+")
  with pytest.raises(ValueError, match="constraint: got 'Automaton'"):
    _engine(constraint=constraint)
  config = generation.PatternConfig(tokens=[b"a"])
  with pytest.raises(ValueError, match="tokens: got '1', expected 256, an"):
    _engine(config)
  with pytest.raises(ValueError, match="states: got 5, expected an integer"):
    generation.PatternConfig(states=5)


@hypothesis.given(
  st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=30)
)
@hypothesis.settings(max_examples=8, deadline=None)
def test_tables_in_use_stay_whole(steps):
  pool = pattern_pool.PatternPool(2, _TWO)
  users = {}
  for length, gives in steps:
    pattern = b"\0" * length
    if gives and users.get(pattern):
      pool.give_back(pattern)
      users[pattern] -= 1
    elif (start := pool.take(pattern)) is not None:
      users[pattern] = users.get(pattern, 0) + 1
      # The text is as long as its pattern, and nothing follows it.
      flags = np.asarray(_along(pool.table, start))
      np.testing.assert_array_equal(flags[:length], [[True, False]] * length)
      assert not flags[length].any()
  # What is in use is still there, at the place that it was given.
  for pattern, count in users.items():
    if count:
      flags = _along(pool.table, pool.take(pattern))
      assert not flags[len(pattern)].any()
  assert pool.table.allowed(jnp.int32(0)).all()


@jax.jit
def _along(table, start):
  """What is permitted after 0, 1, .. 60 of the first token."""

  def step(state, _):
    return table.advance(state, 0), table.allowed(state)

  return jax.lax.scan(step, jnp.int32(start), length=61)[1]


# Two tokens: the bytes 0 and 1.
_TWO = generation.PatternConfig(states=128, tokens=[b"\0", b"\1"])
