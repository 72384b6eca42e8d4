"""Futures, long streams and conflicting tasks of Hawkes processes.

  python -m benchmarks.event_arms futures
  python -m benchmarks.event_arms stream
  python -m benchmarks.event_arms tasks

`futures`: T-mAP and OTD of networks, by expected counts of sampled futures,
beside what needs no training and the expected counts of the process itself.
`stream`: one long stream whose process changes, in windows, with states carried
from one to the next and without. `tasks`: five processes one after the other,
twice; what is left of the first when the last has been learnt. Each prints a
line for every arm, mean and range over seeds.
"""

import argparse

import jax
import numpy as np

from jaxseq import data
from jaxseq import nn
from jaxseq.data import point_processes
from jaxseq.data import sources
from jaxseq.tasks import base
from jaxseq.tasks import events
from jaxseq.tasks.events import arms as event_arms
from jaxseq.tasks.events import event_futures
from jaxseq.tasks.events import event_next_k
from jaxseq.tasks.events import event_sequences
from jaxseq.tasks.events import event_windows
from jaxseq.tasks.events import future_baselines
from jaxseq.tasks.events import metrics as event_metrics
from jaxseq.training import recipes
from jaxseq.training import supervised

BASE = point_processes.Hawkes()
# Marks excite others in each: no network can be right for two of them.
CONFLICTING = ((0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1), (1, 0, 2))


def arm(mixer="gru", *, width=32, batch_size=32, rate=3e-3, **options):
  stack = nn.StackConfig(mixer, d_model=width, num_layers=1)
  return event_arms.ArmConfig(
    nn.NetworkConfig(stack),
    recipes.Recipe(learning_rate=rate, schedule="constant"),
    batch_size,
    nodes=60,
    **options,
  )


def trained(problem, seed, updates):
  """Returns the variables of a problem after some updates."""
  optimizer = base.make_optimizer(problem.arm, updates)
  state = supervised.init(problem, optimizer, jax.random.key(seed))
  state, _ = jax.jit(
    lambda state, data: supervised.train(
      problem, optimizer, state, data, updates
    )
  )(state, problem.data)
  return state.variables


def show(name, values):
  """Prints an arm's numbers, means over seeds and half their range."""
  values = np.atleast_2d(np.array(values, float))
  spread = (values.max(0) - values.min(0)) / 2
  cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), spread)]
  print(f"{name:32}", "  ".join(cells), flush=True)


def futures(seeds=2, updates=1500, samples=32):
  """T-mAP and OTD on the reference set, 150 sequences of its test part."""
  splits = data.load("hawkes")
  part = event_sequences.sequences(data.take(splits.test, np.arange(150)))
  happened = point_processes.Events(
    np.asarray(part.times, np.float64), part.marks, part.lengths, 50.0
  )
  train = event_sequences.sequences(splits.train)
  train = point_processes.Events(train.times, train.marks, train.lengths, 50.0)
  places = event_metrics.places(happened, ahead=32, step=4)
  edges = np.arange(1, 6.0)
  targets = event_metrics.following(happened, places, 32)
  print(f"{len(places.row)} places; T-mAP, OTD")

  def t_map(predicted):
    return event_metrics.t_map(
      places.time, targets, predicted, horizon=5.0, deltas=(1.0,)
    ).value

  def table(counts):
    return t_map(event_metrics.table(places.time, edges, counts))

  def five(future):
    return event_metrics.Futures(*(x[:, :5] for x in future))

  def otd(future):
    return event_metrics.otd(five(targets), five(future)).mean()

  def both(future):
    """Expected counts of all samples; the distance of the first."""
    counts = event_metrics.counts(places.time, edges, future, 3)
    first = event_metrics.Futures(*(x[:, 0] for x in future))
    return table(counts), otd(first)

  args = happened, places, edges
  show(
    "process, expected counts",
    [table(future_baselines.expected_counts(BASE, *args))],
  )
  excitation = BASE.excitation(happened)[places.row, places.event]
  drawn = BASE.simulate(
    np.random.default_rng(0),
    samples * len(excitation),
    40.0,
    np.repeat(excitation, samples, axis=0),
  )
  drawn = event_metrics.Futures(
    drawn.times + np.repeat(places.time, samples)[:, None],
    drawn.marks,
    np.arange(drawn.times.shape[1]) < drawn.lengths[:, None],
  )
  drawn = event_metrics.Futures(
    *(x.reshape(len(excitation), samples, -1) for x in drawn)
  )
  show(f"process, {samples} samples", [both(drawn)])
  first = event_metrics.Predicted(
    drawn.times[:, 0], np.eye(3)[drawn.marks[:, 0]], drawn.inside[:, 0]
  )
  show("process, one sample", [(t_map(first), both(drawn)[1])])
  rate = future_baselines.train_rate(train, places, edges, 3)
  show("train rate", [table(rate)])
  density = future_baselines.history_density(*args, 3)
  show("HistoryDensity", [table(density)])
  future, predicted = future_baselines.most_popular(happened, places, 3)
  show("MostPopular", [(t_map(predicted), otd(future))])
  prefix = event_sequences.Sequences(
    *(x[places.row] for x in part[:3]), places.event.astype(np.int32) + 1
  )
  arms = {
    "gru, mixture": arm(),
    "gru, intensities": arm(head="intensity"),
    "NHP": arm(head="nhp", width=16),
  }
  for name, config in arms.items():
    problem, results = events.Problem(config, splits), []
    for seed in range(seeds):
      variables = trained(problem, seed, updates)
      drawn = event_futures.sample_futures(
        problem.network,
        variables,
        prefix,
        jax.random.key(seed),
        until=places.time.astype(np.float32) + 40,
        draws=samples,
        max_events=32,
      )
      times = np.asarray(drawn.times, np.float64)
      future = event_metrics.Futures(
        times, np.asarray(drawn.marks), np.isfinite(times)
      )
      results.append(both(future))
    show(name, results)
  for count in (8, 16):
    problem = event_next_k.Problem(arm(), splits, count)
    inputs = event_sequences.Sequences(*(x[places.row] for x in part[:4]))
    results = []
    for seed in range(seeds):
      variables = trained(problem, seed, updates)
      predicted = event_next_k.predict(
        problem.network, variables, inputs, places.event
      )
      marks = predicted.scores.argmax(axis=-1)
      future = event_metrics.Futures(predicted.times, marks, predicted.inside)
      results.append((t_map(predicted), otd(future)))
    show(f"gru, next {count} of one state", results)


def permuted(order):
  """The process with effects half as strong again, and rows in this order."""
  a = 1.5 * np.array(BASE.a)[list(order)]
  return point_processes.Hawkes(BASE.mu, tuple(map(tuple, a)), BASE.b)


def changing(rng, count, each, window):
  """Windows of a stream whose process is drawn anew after `each`.

  Returns:
    The splits, and the log density per event of the true process on the test
    part.
  """
  processes = [permuted(order) for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0))]
  excitation = np.zeros((1, 3))
  times, marks, logs = [], [], []
  for segment in range(count):
    process = processes[rng.integers(3)]
    drawn = process.simulate(rng, 1, each, excitation)
    mu, a, b = np.array(process.mu), np.array(process.a), process.b
    state, last, sums = excitation[0], 0.0, []
    for time, mark in zip(drawn.times[0], drawn.marks[0]):
      decay = np.exp(-b * (time - last))
      lost = mu.sum() * (time - last) + state.sum() * (1 - decay) / b
      state = state * decay
      sums.append(np.log((mu + state)[mark]) - lost)
      state, last = state + a[:, mark] * b, time
    decay = np.exp(-b * (each - last))
    lost = mu.sum() * (each - last) + state.sum() * (1 - decay) / b
    excitation = (state * decay)[None]
    times.append(drawn.times[0] + segment * each)
    marks.append(drawn.marks[0])
    logs.append((sum(sums) - lost, len(sums)))
  times, marks = np.concatenate(times), np.concatenate(marks)
  place = np.ceil(times / window).astype(int) - 1
  total = int(count * each / window)
  ends = np.searchsorted(place, np.arange(total + 1))
  rows = [slice(a, b) for a, b in zip(ends, ends[1:])]
  source = sources.EventSource(
    classes=("0", "1", "2"), horizon=window, length=int(np.diff(ends).max())
  )
  cut = [int(total * share) for share in (0.8, 0.9)]
  parts = [
    source.prepare(
      [marks[rows[i]].astype(str).tolist() for i in numbers],
      times=[times[rows[i]] - i * window for i in numbers],
    )
    for numbers in np.split(np.arange(total), cut)
  ]
  test = np.array(logs[int(count * 0.9) :]).sum(0)
  info = data.Info("A stream", "made", "", num_classes=3, horizon=window)
  return data.Splits(*parts, info), -test[0] / test[1]


def stream(seeds=2, updates=1000, window=10.0):
  """Nats per event of the last tenth, above the process that made it."""
  splits, truth = changing(np.random.default_rng(0), 100, 200.0, window)
  print(f"true process: {truth:.3f} nats per event; above it:")
  for mixer in ("gru",):
    alone, carried = [], []
    for seed in range(seeds):
      problem = events.Problem(arm(mixer, batch_size=32), splits)
      variables = trained(problem, seed, updates)
      measured = jax.jit(problem.evaluate)(variables, problem.data)
      alone.append(float(measured["nll"]) - truth)
      problem = event_windows.Problem(
        arm(mixer, batch_size=32), splits, length=16
      )
      variables = trained(problem, seed, updates)
      measured = jax.jit(problem.evaluate)(variables, problem.data)
      carried.append(float(measured["nll"]) - truth)
    show(f"{mixer}, every window afresh", np.array(alone)[:, None])
    show(f"{mixer}, states carried", np.array(carried)[:, None])


def tasks(seeds=2, updates=120, sequences=300, horizon=25.0, arms=""):
  """Five processes, twice; nats per event above the truth after the last.

  The numbers are the mean over tasks, the newest task, and the first.
  """
  size = {"train": sequences, "valid": 20, "test": 100, "horizon": horizon}
  sets = [
    point_processes.load(permuted(order), seed=number, **size)
    for number, order in enumerate(CONFLICTING)
  ]
  count = len(sets)
  parts = [
    {
      "train": event_sequences.sequences(splits.train),
      "test": event_sequences.sequences(splits.test),
    }
    for splits in sets
  ]
  longest = max(part["train"].gaps.shape[1] for part in parts)

  def padded(x):
    if x.ndim < 2:
      return x
    return np.pad(x, ((0, 0), (0, longest - x.shape[1])))

  parts = [jax.tree.map(padded, base.host(part)) for part in parts]

  def mixed(rng, examples, share):
    """As many examples, of each set a share."""
    picked = []
    for one, part in zip(examples, share):
      index = rng.choice(len(one.gaps), part, replace=False)
      picked.append(base.take(one, index))
    return jax.tree.map(lambda *x: np.concatenate(x), *picked)

  train = [part["train"] for part in parts]
  even = [sequences // count] * count
  attnhp = {"heads": 1, "d_time": 16, "memory": longest + 1}
  with_prompts = {**attnhp, "prompts": 10, "chosen": 4, "prompt_length": 5}
  small = {"width": 16, "batch_size": 16, "rate": 5e-3}
  plain = arm(head="attnhp", head_options=attnhp, **small)
  prompted = arm(head="attnhp", head_options=with_prompts, **small)
  trainings = {
    "AttNHP, one after the other": (plain, "fine-tune"),
    "AttNHP with prompts": (prompted, "fine-tune"),
    "AttNHP, replay": (plain, "replay"),
    "AttNHP, joint": (plain, "joint"),
    "gru, joint": (arm(batch_size=16), "joint"),
  }
  for name, (config, kind) in trainings.items():
    if arms not in name:
      continue
    problem = events.Problem(config, sets[0])
    optimizer = base.make_optimizer(config, updates)

    @jax.jit
    def learn(state, arrays, problem=problem, optimizer=optimizer):
      return supervised.train(problem, optimizer, state, arrays, updates)[0]

    @jax.jit
    def above(variables, part, problem=problem):
      return problem.measure(variables, part)["nll_gap"]

    results = []
    for seed in range(seeds):
      rng = np.random.default_rng(seed)
      state = supervised.init(problem, optimizer, jax.random.key(seed))
      for stage in range(2 * count):
        number = stage % count
        examples = train[number]
        if kind == "joint":
          examples = mixed(rng, train, even)
        elif kind == "replay" and stage:
          seen = min(stage, count)
          others = [i for i in range(seen) if i != number] or [number]
          share = [sequences // 2 // len(others)] * len(others)
          examples = mixed(
            rng,
            [examples, *(train[i] for i in others)],
            [sequences - sum(share), *share],
          )
        state = learn(state, {"train": examples})
      gaps = [float(above(state.variables, part["test"])) for part in parts]
      results.append((np.mean(gaps), gaps[-1], gaps[0]))
    show(name, results)


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("what", choices=("futures", "stream", "tasks"))
  parser.add_argument("--seeds", type=int, default=2)
  parser.add_argument("--updates", type=int, default=None)
  parser.add_argument("--arms", help="of `tasks`: those with this in the name")
  flags = parser.parse_args()
  if flags.arms and flags.what != "tasks":
    parser.error(f"--arms: got {flags.arms!r}, expected it with tasks alone.")
  asked = {"updates": flags.updates, "arms": flags.arms}
  options = {name: value for name, value in asked.items() if value is not None}
  globals()[flags.what](seeds=flags.seeds, **options)
