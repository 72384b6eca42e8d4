"""Token Recycling against plain generation, by trained models of bytes.

  python -m experiments.language_model --workdir=runs/recycling/kjv \
    --config=configs/language_model/recycling.py
  python -m experiments.language_model --workdir=runs/recycling/stdlib \
    --config=configs/language_model/recycling.py:stdlib
  python -m benchmarks.recycling kjv=runs/recycling/kjv \
    python_source=runs/recycling/stdlib

Each argument is a text of `jaxseq.data` and the directory of a run on it, all
of whose models continue prompts from the test text, one after the other; the
matrix is kept from prompt to prompt. Printed are the tokens that a pass of the
network gives, and the seconds of the processor that all prompts take, of plain
generation and of drafts in turns, best of several. The texts are compared: with
the same key they are the same at any temperature, unless two tokens are nearer
to each other than float32 tells, which is counted. "pass" is what a pass costs,
in steps of plain generation: with more tokens in a pass than that, drafts save
time. `--schemes` times the ways to read a tree; `--random 512` continues random
prompts by untrained networks of that width, in which weights cost more and
whose many tokens in a pass say nothing, and `--folder DIR` by a model of the
transformers library.
"""

import argparse
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
import jaxseq
from jaxseq import data
from jaxseq import generation
from jaxseq import mixers
from jaxseq import nn
from jaxseq.generation import recycling
from jaxseq.generation import speculative
from jaxseq.interop import huggingface
from jaxseq.recurrence.trees import tree
from jaxseq.tasks import language

# The largest difference of logits that rounding may turn around.
_NEAR = 1e-4
_TREES = {
  "small": recycling.SMALL_TREE,
  "paper": recycling.PAPER_TREE,
  "chain": tree.chain(4),
}


def _parse():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("runs", nargs="*", metavar="TEXT=DIRECTORY")
  parser.add_argument("--folder", help="of a pretrained model, beside the runs")
  parser.add_argument("--random", type=int, help="width of untrained networks")
  parser.add_argument("--layers", type=int, default=4, help="of these")
  parser.add_argument(
    "--mixers",
    nargs="+",
    default=["gru", "s5", "mamba2", "gated_deltanet", "attention"],
  )
  parser.add_argument("--prompts", type=int, default=8)
  parser.add_argument("--prompt", type=int, default=128, help="their tokens")
  parser.add_argument("--length", type=int, default=256, help="tokens to draw")
  parser.add_argument(
    "--temperatures", type=float, nargs="+", default=[0.0, 0.7]
  )
  parser.add_argument(
    "--trees", nargs="+", choices=_TREES, default=["small", "paper"]
  )
  parser.add_argument("--contexts", type=int, nargs="+", default=[1, 2])
  parser.add_argument("--schemes", nargs="+", default=["nodes"])
  parser.add_argument("--repeats", type=int, default=3)
  return parser.parse_args()


def _models(flags):
  """Yields names of texts and mixers, networks, variables and prompts."""
  for run in flags.runs:
    text, _, directory = run.partition("=")
    test = np.asarray(language.from_splits(data.load(text)).test.tokens)
    begins = np.linspace(0, test.size - flags.prompt, flags.prompts, dtype=int)
    prompts = [test.reshape(-1)[i : i + flags.prompt] for i in begins]
    for path in sorted(pathlib.Path(directory).glob("*/model.safetensors")):
      if path.parent.name in flags.mixers:
        model = jaxseq.load(path)
        yield text, path.parent.name, model.network, model.variables, prompts
  rng = np.random.default_rng(0)
  shape = flags.prompts, flags.prompt
  for name in flags.mixers if flags.random else ():
    stack = nn.StackConfig(
      name,
      d_model=flags.random,
      num_layers=flags.layers,
      **mixers.traits(name).block,
    )
    network = nn.SequenceNetwork(nn.NetworkConfig(stack), 256, 256)
    prompts = list(rng.integers(256, size=shape))
    variables = jax.jit(network.init)(jax.random.key(0), prompts[0][None, :4])
    yield "random", name, network, variables, prompts
  if flags.folder:
    config, variables = huggingface.load(flags.folder)
    network = huggingface.make_network(config, variables)
    prompts = list(rng.integers(network.vocab_size, size=shape))
    yield "random", pathlib.Path(flags.folder).name, network, variables, prompts


def _plain(network, variables, prompts, length, temperature):
  """Texts one after the other."""
  return [
    np.asarray(
      generation.generate(
        network,
        variables,
        prompt,
        length,
        jax.random.key(i),
        temperature=temperature,
      )[0]
    )
    for i, prompt in enumerate(prompts)
  ], None


def _drafted(network, variables, prompts, length, temperature, draft, scheme):
  """Texts one after the other, and numbers of passes."""
  memory, tokens, passes = None, [], []
  for i, prompt in enumerate(prompts):
    found = speculative.generate(
      network,
      variables,
      prompt,
      length,
      jax.random.key(i),
      draft=draft,
      memory=memory,
      scheme=scheme,
      temperature=temperature,
    )
    memory = found.memory
    tokens.append(np.asarray(found.tokens))
    passes.append(int(found.passes))
  return tokens, passes


def _check(network, variables, prompts, plain, drafted, temperature):
  """Counts texts that go apart at a tie; others end the program."""
  ties = 0
  for i, (prompt, a, b) in enumerate(zip(prompts, plain, drafted)):
    apart = np.flatnonzero(a != b)
    if not apart.size:
      continue
    place = apart[0]
    seen = np.concatenate([prompt, a[:place]])
    logits, _ = network.apply(variables, jnp.asarray(seen)[None])
    scores = logits[0, -1]
    if temperature:
      key = generation.token_sampling.row_keys(jax.random.key(i), np.array(0))
      key = jax.random.fold_in(key, place)
      noise = jax.random.gumbel(key, scores.shape, scores.dtype)
      scores = scores / temperature + noise
    gap = abs(float(scores[a[place]] - scores[b[place]]))
    if gap > _NEAR:
      raise SystemExit(
        f"prompt {i}: token {place} is {a[place]} by plain generation and "
        f"{b[place]} by drafts, {gap} apart"
      )
    ties += 1
  return ties


def _timed(functions, repeats):
  """The best seconds of the processor of each function, in turns."""
  best = [float("inf")] * len(functions)
  for _ in range(repeats):
    for i, function in enumerate(functions):
      start = time.process_time()
      function()
      best[i] = min(best[i], time.process_time() - start)
  return best


def main():
  flags = _parse()
  print(timing.machine())
  print(
    f"{'text':<14} {'mixer':<15} {'T':>4} {'tree':<6} {'key':>3} "
    f"{'scheme':<7} {'tokens':>6} {'saved':>6} {'ties':>4} "
    f"{'plain s':>8} {'drafts s':>8} {'pass':>5} {'ratio':>6}"
  )
  for text, name, network, variables, prompts in _models(flags):
    for temperature in flags.temperatures:
      common = network, variables, prompts, flags.length, temperature
      plain = functools.partial(_plain, *common)
      rows, functions = [], [plain]
      for kind in flags.trees:
        for context in flags.contexts:
          for scheme in flags.schemes:
            draft = recycling.Recycling(_TREES[kind], context=context)
            rows.append((kind, context, scheme))
            functions.append(
              functools.partial(_drafted, *common, draft, scheme)
            )
      results = [function() for function in functions]
      ties = [
        _check(*common[:3], results[0][0], tokens, temperature)
        for tokens, _ in results[1:]
      ]
      alone, *times = _timed(functions, flags.repeats)
      for row, (_, passes), tie, cpu in zip(rows, results[1:], ties, times):
        tokens = len(prompts) * flags.length
        kind, context, scheme = row
        print(
          f"{text:<14} {name:<15} {temperature:4} {kind:<6} {context:>3} "
          f"{scheme:<7} {tokens / sum(passes):6.2f} "
          f"{1 - sum(passes) / tokens:6.0%} {tie:>4} "
          f"{alone:8.3f} {cpu:8.3f} "
          f"{cpu / sum(passes) / (alone / tokens):5.1f} {alone / cpu:6.2f}",
          flush=True,
        )


if __name__ == "__main__":
  main()
