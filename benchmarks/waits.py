"""What people wait for, here and in another checkout, in turns.

  git worktree add ../before COMMIT
  NPROC=1 taskset -c 0 python -m benchmarks.waits ../before
  python -m benchmarks.waits ../before --cases adapters:2 trace:lru

Cases, each of which is a call: `experts`, experts, active, rows and pass, of a
mixture 256 wide; `rest`, a mixer and a number of tokens, a request that follows
a cached prefix of 320 tokens; `engine`, a mixer and rows, requests of 64 tokens
each; `top_p`, rows and vocabulary, truncated logits; `adapters`, how many, a
step of 16 rows that have one each; `dora`, a step beside one adapter with
magnitudes; `trace`, a mixer, the gradient of four layers traced for an H100;
`eager`, a mixer, a step that is not compiled; `split`, a recurrence and rows, 2
if not said, forward and gradient with time split over four devices on the cores
that there are; `structformer`, tokens, the gradient of a parser's distances and
heights of four sentences.

Each checkout has a process, in which `benchmarks.checkouts` times its calls; it
says what the columns are.
"""

import argparse
import functools
import importlib.util
import pathlib

CASES = (
  *(
    f"experts:{mixture}:{rows}:{kind}"
    for mixture in ("8:2", "64:4", "256:8")
    for rows in (1, 256)
    for kind in ("forward", "gradient")
  ),
  *(f"rest:attention:{rest}" for rest in (63, 64)),
  *(f"engine:{name}:{n}" for name in ("attention", "gru") for n in (1, 4, 16)),
  "top_p:1:128000",
  "top_p:8:128000",
  *(f"adapters:{count}" for count in (2, 8, 32)),
  "dora",
  *(f"trace:{name}" for name in ("lru", "gated_deltanet", "mamba2")),
  *(f"eager:{name}" for name in ("s5", "gru", "mamba2")),
  *(f"structformer:{tokens}" for tokens in (22, 64, 256)),
  "split:lti_scan",
  "split:lti_scan:8",
  "split:selective_scan",
)
_WIDTH, _VOCAB, _DEVICES = 256, 256, 4
_PARSER = "structformer"


def _normal(seed, *shape):
  import jax

  return jax.random.normal(jax.random.key(seed), shape)


def _compiled(function, *arguments):
  """A call of a compiled function that waits for its result."""
  import jax

  function = jax.jit(function)
  return lambda: jax.block_until_ready(function(*arguments))


def _network(mixer, **options):
  import jax
  import jax.numpy as jnp

  from jaxseq import nn

  options = {"d_model": _WIDTH} | options
  stack = nn.StackConfig(mixer, **options)
  network = nn.SequenceNetwork(nn.NetworkConfig(stack), _VOCAB, _VOCAB)
  tokens = jnp.zeros((1, 4), jnp.int32)
  return network, jax.jit(network.init)(jax.random.key(0), tokens)


def _experts(count, active, rows, kind):
  import jax
  import jax.numpy as jnp

  from jaxseq.nn import experts

  module = experts.Experts(experts.Routing(int(count), int(active)), _WIDTH)
  x = _normal(1, int(rows), _WIDTH)
  variables = jax.jit(module.init)(jax.random.key(0), x)

  def loss(variables, x):
    return jnp.sum(module.apply(variables, x) ** 2)

  called = module.apply if kind == "forward" else jax.grad(loss)
  return _compiled(called, variables, x)


def _engine(mixer, slots, **options):
  from jaxseq import generation

  network, variables = _network(mixer, num_layers=4)
  config = generation.EngineConfig(slots=int(slots))
  return generation.Engine(network, variables, config, **options)


def _rest(mixer, count):
  import numpy as np

  from jaxseq import generation

  engine = _engine(mixer, 4, cache=generation.PrefixCache(2**30))
  draw = np.random.default_rng(0)
  prefix = draw.integers(0, _VOCAB, 320)
  engine.run([generation.Request(prefix, 1)])

  def call():
    rest = draw.integers(0, _VOCAB, int(count))
    engine.run([generation.Request(np.concatenate([prefix, rest]), 1)])

  return call


def _generated(mixer, rows):
  import numpy as np

  from jaxseq import generation

  engine = _engine(mixer, rows)
  prompt = np.arange(4, dtype=np.int32)
  requests = [generation.Request(prompt, 64) for _ in range(int(rows))]
  return lambda: engine.run(requests)


def _top_p(rows, vocab):
  import jax
  import jax.numpy as jnp

  from jaxseq.generation import token_sampling

  options = [token_sampling.Sampling(top_p=0.9)] * int(rows)
  controls = token_sampling.make_controls(options, int(vocab))
  controls = jax.tree.map(jnp.asarray, controls)
  logits = 5 * _normal(0, int(rows), int(vocab))
  return _compiled(token_sampling.process_logits, logits, controls)


def _adapted(network, variables, seed, **options):
  """An adapter of all products that changes outputs."""
  import jax

  from jaxseq.adapt import lora

  config = lora.Config(r"stack\..*", rank=32, **options)
  adapters = lora.init(jax.random.key(seed), network, variables, config)
  return jax.tree.map(lambda leaf: leaf + 0.01 * seed, adapters)


def _step(network, variables, rows):
  """A compiled call of a step."""
  import jax.numpy as jnp

  run = functools.partial(network.apply, method="step")
  state = network.initial_state((rows,))
  return _compiled(run, variables, jnp.arange(rows), state)


def _products():
  """A network most of whose time is products."""
  return _network("mingru", d_model=1024, num_layers=1, feedforward="swiglu")


def _adapters(count):
  import numpy as np

  from jaxseq.adapt import batch

  rows, count = 16, int(count)
  network, variables = _products()
  every = [_adapted(network, variables, i + 1) for i in range(count)]
  numbers = 1 + np.arange(rows) % count
  attached = batch.at_rows(batch.attach(variables, every), numbers)
  return _step(network, attached, rows)


def _dora():
  from jaxseq.adapt import lora

  network, variables = _products()
  adapters = _adapted(network, variables, 1, dora=True)
  return _step(network, lora.attach(variables, adapters), 1)


def _trace(mixer):
  import jax
  import jax.numpy as jnp

  from jaxseq.recurrence import kernels

  network, variables = _network(mixer, num_layers=4)
  tokens = jnp.zeros((2, 256), jnp.int32)

  def call():
    # A function of its own each time, which JAX has not traced before.
    def loss(variables):
      return jnp.sum(network.apply(variables, tokens)[0])

    with kernels.choosing_for("gpu", "sm_90"):
      jax.make_jaxpr(jax.grad(loss))(variables)

  return call


def _eager(mixer):
  import jax

  from jaxseq import mixers

  module, config = mixers.get(mixer), mixers.make_config(mixer, d_model=64)
  params = jax.jit(module.init, static_argnums=1)(jax.random.key(0), config)
  state, x = module.initial_state(config, (1,)), _normal(1, 1, 64)
  return lambda: jax.block_until_ready(module.step(config, params, x, state))


def _structformer(tokens):
  import jax
  import jax.numpy as jnp

  # Earlier checkouts have it among the layers.
  earlier = importlib.util.find_spec(f"jaxseq.nn.{_PARSER}")
  place = "jaxseq.nn" if earlier else "jaxseq.tasks.masked_language"
  structformer = importlib.import_module(f"{place}.{_PARSER}")
  tokens = int(tokens)
  parser = structformer.Parser(structformer.Config(d_model=64))
  x = _normal(0, 4, tokens, 64)
  inside = jnp.ones(x.shape[:2], bool)
  variables = jax.jit(parser.init)(jax.random.key(0), x, inside)

  def loss(variables, x):
    leaves = jax.tree.leaves(parser.apply(variables, x, inside))
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves)

  return _compiled(jax.grad(loss), variables, x)


def _split(name, rows=2):
  import jax
  import jax.numpy as jnp
  import numpy as np

  from jaxseq import recurrence

  rows, time, width, states = int(rows), 4096, 64, 64
  u = _normal(0, rows, time, width)
  if name == "lti_scan":
    fixed = {
      "Lambda_bar": 0.99 * jnp.exp(1j * jnp.linspace(0, 3, states)),
      "B_bar": jnp.ones((states, width), jnp.complex64) / width,
      "C": jnp.ones((width, states), jnp.complex64) / states,
    }
    timed = {"u": u}
  else:
    fixed = {"A": -jnp.ones((width, 16))}
    timed = {
      "x": u,
      "delta": 0.01 + 0.01 * jax.nn.sigmoid(u),
      "B": _normal(1, rows, time, 16),
      "C": _normal(2, rows, time, 16),
    }
  mesh = jax.sharding.Mesh(np.array(jax.devices()), ("sp",))
  P = jax.sharding.PartitionSpec

  def one(fixed, timed):
    return getattr(recurrence, name)(**fixed, **timed, axis="sp")

  specs = P(), P(None, "sp")
  split = jax.shard_map(
    one, mesh=mesh, in_specs=specs, out_specs=(P(None, "sp"), P())
  )

  def loss(fixed, timed):
    y, state = split(fixed, timed)
    return jnp.sum(y**2) + jnp.sum(jnp.abs(state))

  return _compiled(jax.grad(loss, (0, 1)), fixed, timed)


_MAKERS = {
  "experts": _experts,
  "rest": _rest,
  "engine": _generated,
  "top_p": _top_p,
  "adapters": _adapters,
  "dora": _dora,
  "trace": _trace,
  "eager": _eager,
  "structformer": _structformer,
  "split": _split,
}


def make(case: str):
  """What a case calls, of the checkout that is imported."""
  kind, *rest = case.split(":")
  return _MAKERS[kind](*rest)


def main():
  from benchmarks import checkouts

  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("before", type=pathlib.Path, help="the other checkout")
  parser.add_argument("--cases", nargs="+", default=CASES, help="calls by name")
  parser.add_argument("--rounds", type=int, default=7, help="turns of each")
  flags = parser.parse_args()
  roots = flags.before.resolve(), pathlib.Path(__file__).resolve().parents[1]
  checkouts.print_head()
  for devices in (1, _DEVICES):
    start = functools.partial(
      checkouts.Checkout, cases=__file__, devices=devices
    )
    cases = [x for x in flags.cases if x.startswith("split") == (devices > 1)]
    if not cases:
      continue
    pair = [start(root) for root in roots]
    for case in cases:
      checkouts.print_compared(pair, case, flags.rounds)
    for checkout in pair:
      checkout.close()


if __name__ == "__main__":
  main()
