"""Programs that are written: under the grammar, run, and measured in bits."""

import jax
import numpy as np
import pytest

from experiments.synthetic import program as sampled
from jaxseq import nn
from jaxseq.data.tokens import byte_programs
from jaxseq.data.tokens import program_codes

UP = byte_programs.parse(
  "sequence_1 = range_func_up(3, 40)\noutput = sequence_1"
)


def test_right_programs_count_by_their_bits():
  sequences = [list(range(3, 41)), [5, 5, 5], [1, 2]]
  deep = byte_programs.Program((byte_programs.Line("scan_add", (0,)),), 0)
  found = sampled.scores(sequences, [UP, UP, None])
  assert found["executed"] == 1 / 3
  bits = len(program_codes.bits_of(UP))
  raw = 8 * (38 + 3 + 2)
  np.testing.assert_allclose(found["rate"], (bits + 8 * 5 + 3) / raw)
  assert found["gzip"] > 1
  # A program that cannot be run is a wrong one.
  assert sampled.scores(sequences[:1], [deep])["executed"] == 0


@pytest.mark.slow
def test_what_is_written_is_a_program():
  config = nn.NetworkConfig(nn.StackConfig("gru", d_model=8, num_layers=1))
  size = program_codes.VOCAB_SIZE
  network = nn.SequenceNetwork(config, size, size)
  init = jax.jit(network.init)
  variables = init(jax.random.key(0), np.zeros((1, 3), np.int32))
  # The bias of the end of a list and of the output is large: it ends soon.
  bias = variables["params"]["head"]["mlp"]["dense_0"]["bias"]
  ends = np.array([program_codes.LIST_END, program_codes.OUTPUT])
  variables["params"]["head"]["mlp"]["dense_0"]["bias"] = bias.at[ends].add(50)
  found = sampled.write(network, variables, [[1, 2, 3], [4, 5]], 30)
  for program in found:
    assert program is not None
    assert byte_programs.parse(byte_programs.text_of(program)) == program
  assert sampled.write(network, variables, [[1]], 3) == [None]
