"""Sampled tasks, including execution of programs that a network writes.

Extends `task`: for the task "programs" it decodes a program for each
test sequence, greedily under the grammar; the program is right if its output is
the sequence. A sequence with a right program has the size of the program's
prefix code, any other one that of its bytes; one more bit distinguishes the
two.
"""

from collections.abc import Sequence
import dataclasses
import gzip

import jax.numpy as jnp
import numpy as np

from experiments.synthetic import program_grammar
from experiments.synthetic import task as synthetic
from jaxseq import nn
from jaxseq.data import tokens
from jaxseq.data.tokens import byte_programs
from jaxseq.data.tokens import program_codes
from jaxseq.data.tokens import program_draws
from jaxseq.generation import beams as search
from jaxseq.training import per_seed
from jaxseq.training.comparison import experiment
from jaxseq.training.comparison import work as works
from jaxseq.types import Network
from jaxseq.types import PyTree

Config = synthetic.Config
TASK = synthetic.TASK
# Number of test sequences for which programs are decoded.
_SEQUENCES = 256


def write(
  network: Network,
  variables: PyTree,
  sequences: Sequence[Sequence[int]],
  time: int,
  *,
  beams: int = 1,
) -> list[byte_programs.Program | None]:
  """Decodes a program for each sequence, under the grammar.

  Args:
    network: network of the tokens of `data.tokens.program_codes`.
    variables: variables of the network.
    sequences: sequences of bytes.
    time: largest number of tokens of a program, including END.
    beams: number of beams; the most probable program is returned.

  Returns:
    The programs; None for one without END within `time`.
  """
  lengths = np.array([len(each) + 1 for each in sequences])
  prompts = np.zeros((len(sequences), lengths.max()), np.int32)
  for row, sequence in zip(prompts, sequences):
    row[: len(sequence) + 1] = [*sequence, program_codes.SEP]
  result = search.beam_search(
    network,
    variables,
    jnp.asarray(prompts),
    time,
    beams=beams,
    end_token=program_codes.END,
    constraint=program_grammar.grammar(),
    lengths=jnp.asarray(lengths),
  )
  rows = np.asarray(search.ranked(result).tokens[:, 0])
  ended = (rows == program_codes.END).any(axis=1)
  return [
    program_codes.program_of(row) if whole else None
    for row, whole in zip(rows, ended)
  ]


def scores(
  sequences: Sequence[Sequence[int]],
  programs: Sequence[byte_programs.Program | None],
) -> dict[str, float]:
  """Returns the share of right programs, and compression rates.

  Args:
    sequences: sequences of bytes.
    programs: one for each sequence, or None.

  Returns:
    "executed": the share whose output is the sequence; "rate": compressed bits
    (right programs, and bytes of the other sequences) divided by the bits of
    the bytes; "gzip": the same rate of gzip for each sequence.
  """
  right, bits = 0, 0
  for sequence, program in zip(sequences, programs):
    whole = 1 + 8 * len(sequence)
    if program is not None and _output(program) == list(sequence):
      right += 1
      whole = 1 + len(program_codes.bits_of(program))
    bits += whole
  raw = 8 * sum(map(len, sequences))
  packed = sum(8 * len(gzip.compress(bytes(each))) for each in sequences)
  return {
    "executed": right / len(sequences),
    "rate": bits / raw,
    "gzip": packed / raw,
  }


def _output(program):
  """Returns the output of a program; None if it fails."""
  try:
    return byte_programs.run(program)
  except ValueError:
    return None


def work(config: Config, program: experiment.Experiment) -> works.Work:
  """Returns the arms, with the table of further tests."""
  work = synthetic.work(config, program)
  if config.task != "programs":
    return work
  options = {**config.task_options, "part": "test"}
  task = tokens.make_config("programs", **options)

  def of(name, arm):
    network = nn.SequenceNetwork(
      TASK.arm_config(config, name).network,
      program_codes.VOCAB_SIZE,
      program_codes.VOCAB_SIZE,
    )

    def more(program, variables, *rest):
      pairs = program_draws.examples(task)[:_SEQUENCES]
      sequences = [sequence for sequence, _ in pairs]
      runs = [
        scores(
          sequences,
          write(
            network, works.seed_of(variables, seed), sequences, task.max_program
          ),
        )
        for seed in range(config.num_seeds)
      ]
      reference = scores(sequences, [program for _, program in pairs])
      table = {
        key: per_seed.PerSeed(each[key] for each in runs) for key in reference
      }
      table["true_rate"] = per_seed.PerSeed([reference["rate"]] * len(runs))
      return arm.more(program, variables, *rest) | table

    return dataclasses.replace(arm, more=more)

  columns = {
    "executed": "right programs",
    "rate": "bits by bits",
    "gzip": "by gzip",
    "true_rate": "by the programs drawn",
    **work.options["columns"],
  }
  return dataclasses.replace(
    work,
    arms={name: of(name, arm) for name, arm in work.arms.items()},
    options={**work.options, "columns": columns},
  )
