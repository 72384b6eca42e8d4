"""Programs: golden ones, their codes both ways, and what is refused."""

import jax
import numpy as np
import pytest

from experiments.synthetic import program_grammar
from jaxseq import generation
from jaxseq.data import tokens
from jaxseq.data.tokens import byte_programs
from jaxseq.data.tokens import program_codes
from jaxseq.data.tokens import program_draws


@pytest.fixture(name="cases", scope="module")
def _cases(golden):
  data = golden("kolmogorov/programs")
  return [
    (text, row[:count].tolist(), bits)
    for text, row, count, bits in zip(
      data["program"], data["sequence"], data["length"], data["bits_published"]
    )
  ]


def test_golden_programs(cases):
  for text, sequence, bits in cases:
    program = byte_programs.parse(text)
    assert byte_programs.text_of(program) == text.strip()
    assert byte_programs.run(program) == sequence
    np.testing.assert_allclose(
      byte_programs.published_bits(program), bits, rtol=1e-12
    )


def test_golden_functions(golden):
  data = golden("kolmogorov/functions")
  lists = {"a": data["a"].tolist(), "b": data["b"].tolist()}
  names = {"a": "sequence_1", "b": "sequence_2"}
  seen = set()
  for text, row, count in zip(
    data["expression"], data["result"], data["count"]
  ):
    name, inside = text.rstrip(")").split("(")
    words = [names.get(word, word) for word in inside.split(", ")]
    # Two lines before it, so that a and b are lines to refer to.
    program = byte_programs.parse(
      "sequence_1 = set_list([1])\nsequence_2 = set_list([1])\n"
      f"sequence_3 = {name}({', '.join(words)})\noutput = sequence_3"
    )
    arguments = [
      list(lists.values())[value] if kind == byte_programs.LIST else value
      for kind, value in zip(
        byte_programs.FUNCTIONS[name].arguments, program.lines[2].arguments
      )
    ]
    assert byte_programs.call(name, *arguments) == row[:count].tolist(), text
    seen.add(name)
  assert seen == set(byte_programs.FUNCTIONS)


def test_codes_are_read_back(cases):
  for text, *_ in cases:
    program = byte_programs.parse(text)
    bits = program_codes.bits_of(program)
    assert program_codes.program_of_bits(bits + "0110") == (program, "0110")
    row = program_codes.tokens_of(program)
    assert program_codes.program_of([*row, 3, 5]) == program
    with pytest.raises(ValueError, match="bits"):
      program_codes.program_of_bits(bits[:-9])
    with pytest.raises(ValueError, match="token"):
      program_codes.program_of(row[:-2])
  # A true code is near what the paper counts: half a function a line is all
  # that it saves, and lengths and predicates are paid.
  ours = sum(
    len(program_codes.bits_of(byte_programs.parse(x))) for x, *_ in cases
  )
  assert 0.9 < ours / sum(bits for *_, bits in cases) < 1.15


ONE = "sequence_1 = repeat_num(5, 7)\n"
OUTPUT = "output = sequence_1"


@pytest.mark.parametrize(
  "text",
  [
    "",
    ONE,
    ONE + "output = sequence_2",
    ONE + "output = reverse_list(sequence_1)",
    "sequence_2 = repeat_num(5, 7)\noutput = sequence_2",
    "sequence_1 = reverse_list(sequence_1)\noutput = sequence_1",
    "sequence_1 = __import__(os)\noutput = sequence_1",
    "sequence_1 = repeat_num(5, 7).copy()\noutput = sequence_1",
    "sequence_1 = repeat_num(5, 2 ** 9)\noutput = sequence_1",
    "sequence_1 = repeat_num(5)\noutput = sequence_1",
    "sequence_1 = set_list([1, [2]])\noutput = sequence_1",
    "sequence_1 = set_list([1,2])\noutput = sequence_1",
    ONE + "import os\noutput = sequence_1",
  ],
)
def test_the_parser_refuses_what_is_no_program(text):
  with pytest.raises(ValueError, match="program"):
    byte_programs.parse(text)


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("# nothing", "program, line 1: .* expected at the end a line output ="),
    (ONE + "sequence_2 = set_list([1])", "line 2: .* at the end a line output"),
    (ONE + "\noutput = sequence_7", "line 3: got 'sequence_7', .* before"),
    (
      "sequence_1 = repeat_num(9999999999, 1)\noutput = sequence_1",
      "up to 255",
    ),
    (ONE + ONE + "output = sequence_1", "line 2: got 'sequence_1', .*_2"),
    ("sequence_1 = repeat_num(5)\n" + OUTPUT, "2 arguments"),
    ("sequence_1 = repeat(5)\n" + OUTPUT, "line 1: got 'repeat'"),
  ],
)
def test_the_parser_says_where_it_ends(text, words):
  with pytest.raises(ValueError, match=words):
    byte_programs.parse(text)


@pytest.mark.parametrize(
  ("lines", "words"),
  [
    (["repeat_num(0, 3)"], "repeat_num"),
    (["set_list([1, 256])"], "set_list"),
    (["set_list([1])", "filter(is_prime, sequence_1)"], "is_prime"),
    (["set_list([1])", "modulo_item_list(sequence_1, 0)"], "modulo_item_list"),
    (
      ["repeat_num(255, 3)", "repeat_list(255, sequence_1)"],
      "at most 4096 numbers",
    ),
    (
      ["repeat_num(255, 255)", "repeat_list(16, sequence_1)"]
      + [f"scan_add(sequence_{i})" for i in range(2, 9)],
      "smaller numbers",
    ),
    (["set_list([1])"] * 65, "at most 64 lines"),
  ],
)
def test_the_interpreter_has_bounds(lines, words):
  rows = [f"sequence_{i} = {line}" for i, line in enumerate(lines, 1)]
  text = "\n".join([*rows, f"output = sequence_{len(lines)}"])
  with pytest.raises(ValueError, match=words):
    byte_programs.run(byte_programs.parse(text))


def test_drawn_programs_are_as_the_paper_says():
  rng = np.random.default_rng(0)
  drawn = [program_draws.draw(rng) for _ in range(300)]
  outputs = [byte_programs.run(program) for program in drawn]
  assert all(0 <= x < 256 for output in outputs for x in output)
  used = {line.function for program in drawn for line in program.lines}
  assert len(used) >= 18
  # 76 on average of 4000 of the original generator, 5 % below 12.
  assert 60 < np.mean([len(output) for output in outputs]) < 95
  first = [program.lines[0].function for program in drawn]
  assert set(first) == set(list(byte_programs.FUNCTIONS)[:4])


def test_parts_of_the_task_share_no_sequence():
  options = {"programs": 300, "max_sequence": 30, "max_program": 30}
  parts = {}
  for part in ("train", "test"):
    config = tokens.make_config("programs", part=part, **options)
    pairs = program_draws.examples(config)
    parts[part] = {sequence for sequence, _ in pairs}
    assert all(
      byte_programs.run(program) == list(sequence)
      for sequence, program in pairs
    )
    batch = tokens.get("programs").sample(jax.random.key(0), config, 4)
    for inputs, targets, mask in zip(*map(np.asarray, batch)):
      program = program_codes.program_of(targets[mask])
      sequence = inputs[: np.flatnonzero(mask)[0]]
      assert byte_programs.run(program) == sequence.tolist()
  assert parts["train"].isdisjoint(parts["test"])
  assert len(parts["test"]) * 7 < len(parts["train"])


def test_the_grammar_permits_what_is_a_program(cases):
  constraint = program_grammar.grammar()
  generation.constraints.check(constraint, program_codes.VOCAB_SIZE)
  permitted = np.asarray(constraint.permitted)
  rows = [
    program_codes.tokens_of(byte_programs.parse(text))
    for text, *_ in cases[:20]
  ]
  width = max(map(len, rows))
  array = np.array(
    [row + [program_codes.END] * (width - len(row)) for row in rows]
  )

  @jax.jit
  def follow(array):
    def body(state, token):
      ok = constraint.allowed(state)
      here = jax.numpy.take_along_axis(ok, token[:, None], 1)[:, 0]
      return constraint.advance(state, token), here

    return jax.lax.scan(body, constraint.initial((len(array),)), array.T)[1]

  assert np.asarray(follow(array)).all()
  # Nothing refers to a line that is not there, in any place.
  state = constraint.initial()
  ok = np.asarray(constraint.allowed(state))
  names = [program_codes.NAMES[t - 256] for t in np.flatnonzero(ok)]
  assert names == list(byte_programs.FUNCTIONS)[:4]
  assert permitted.any(axis=1).all()


def test_random_tokens_under_the_grammar_are_programs():
  constraint = program_grammar.grammar(lines=3)
  allowed = jax.jit(constraint.allowed)
  advance = jax.jit(constraint.advance)
  rng = np.random.default_rng(0)
  for _ in range(6):
    state, row = constraint.initial(), []
    while not row or row[-1] != program_codes.END:
      choices = np.flatnonzero(allowed(state))
      ends = np.intersect1d(choices, [program_codes.LIST_END])
      row.append(
        int(rng.choice(ends if len(row) > 40 and len(ends) else choices))
      )
      state = advance(state, np.int32(row[-1]))
    program = program_codes.program_of(row)
    assert 1 <= len(program.lines) <= 3
    byte_programs.run(program)
