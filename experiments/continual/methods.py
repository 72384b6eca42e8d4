"""Methods of continual learning, as learners with the same loop and budget.

learner = continual_methods.METHODS["derpp"](arm, stream, updates=500)
"""

import jax
import jax.numpy as jnp

from experiments.continual import class_posteriors
from experiments.continual import exemplars
from experiments.continual import memo
from experiments.continual import rehearsal
from experiments.continual import task_learner
from jaxseq import validate
from jaxseq.nn import masks
from jaxseq.tasks import losses

_kernel = jax.nn.initializers.lecun_normal()


class Joint(task_learner.Learner):
  """Training on all tasks so far: keeps every example, beyond the budget."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    count = self.arm.batch_size + self.arm.replay
    if count > self.stream.sizes[0]:
      expected = (
        f"at most {self.stream.sizes[0]}, the examples of the first task, for "
        "the method 'joint'; set --config.batch_size and --config.replay"
      )
      raise validate.error("batch_size + replay", count, expected)

  def draw(self, key: jax.Array, update: jax.Array) -> jax.Array:
    """Returns indices for as many examples as other methods read per update."""
    count = self.arm.batch_size + self.arm.replay
    return self.stream.draw(key, update, self.updates, count, so_far=True)


class Replay(task_learner.Learner):
  """Replay of reservoir exemplars together with each batch."""

  remembers = True

  def _objective(self, variables, batch, key):
    """Returns the mean cross-entropy of batch and exemplars."""
    inputs, labels, weight = self._beside(variables, batch, key)
    logits = self._outputs(variables, inputs)
    value = losses.weighted_cross_entropy(logits, labels, weight)
    return value, logits[: len(batch.targets)]

  def _beside(self, variables, batch, key):
    """Returns inputs, labels and weights of a batch and drawn exemplars."""
    inputs, old = self._recall(variables, key)
    ones = jnp.ones(len(batch.targets))
    return (
      jnp.concatenate([batch.inputs, inputs]),
      jnp.concatenate([batch.targets, old.targets]),
      jnp.concatenate([ones, old.weight]),
    )


class DERpp(Replay):
  """DER++: replays exemplars with their labels, others with stored logits."""

  stores_logits = True

  def _objective(self, variables, batch, key):
    """Returns the loss of `rehearsal.derpp`."""
    (first, old), (second, other) = (
      self._recall(variables, key) for key in jax.random.split(key)
    )
    inputs = jnp.concatenate([batch.inputs, first, second])
    count = len(batch.targets)
    bounds = [count, count + self.arm.replay]
    logits, stored, replayed = jnp.split(
      self._outputs(variables, inputs), bounds
    )
    value = rehearsal.derpp(
      (logits, batch.targets),
      (stored, old.logits),
      (replayed, other.targets),
      old.weight,
      self.arm.alpha,
      self.arm.beta,
    )
    return value, logits


class ERACE(Replay):
  """Replay with asymmetric losses, so that new classes do not displace old."""

  def _statistics(self, params):
    """Returns the classes of earlier batches."""
    del params
    return {"seen": jnp.zeros((self.stream.classes,), bool)}

  def _objective(self, variables, batch, key):
    """Returns asymmetric losses from the second task on."""
    inputs, old = self._recall(variables, key)
    outputs = self._outputs(variables, jnp.concatenate([batch.inputs, inputs]))
    logits, replayed = jnp.split(outputs, [len(batch.targets)])
    seen = variables["statistics"]["seen"]
    later = self.task(variables) > 0
    masked = rehearsal.absent_out(logits, batch.targets, seen & later)
    value = losses.cross_entropy(masked, batch.targets)[0]
    mask = (old.weight > 0) & later
    value += losses.cross_entropy(replayed, old.targets, mask)[0]
    return value, logits

  def _offered(self, variables, batch, logits, key):
    """Returns the memory, and the classes seen."""
    seen = variables["statistics"]["seen"].at[batch.targets].set(True)
    kept = super()._offered(variables, batch, logits, key)
    return kept | {"statistics": {"seen": seen}}


class EWC(task_learner.Learner):
  """A penalty on changes of parameters that are important to earlier tasks."""

  def _statistics(self, params):
    """Returns the anchors and the information of parameters, as zeros."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return {"anchor": zeros, "information": zeros}

  def _objective(self, variables, batch, key):
    """Returns the cross-entropy and the penalty."""
    value, logits = super()._objective(variables, batch, key)
    cost = rehearsal.penalty(variables["params"], **variables["statistics"])
    return value + self.arm.strength * cost, logits

  def _finish(self, variables, examples, inside, key):
    """Returns the statistics with the information of a task."""
    params = variables["params"]
    # Examples may be sorted: draw them at random, the task's examples first.
    level = jax.random.uniform(key, inside.shape)
    rows = jnp.argsort(jnp.where(inside, level, 2))[: self.arm.fisher]

    def log_probs(params, x):
      logits = self.network.apply({"params": params}, x[None])[0]
      return jax.nn.log_softmax(logits)

    empirical = self.arm.information == "empirical"
    new = rehearsal.fisher(
      log_probs,
      params,
      examples.inputs[rows],
      inside[rows].astype(jnp.float32),
      examples.targets[rows] if empirical else None,
    )
    old = variables["statistics"]["information"]
    information = jax.tree.map(lambda x, y: self.arm.decay * x + y, old, new)
    return {"statistics": {"anchor": params, "information": information}}


class ProtoCL(Replay):
  """Class prototypes in learned features, with an exact posterior.

  For predictions the posterior is that of all exemplars under the current
  network. In training it is that of sampled exemplars; the loss is on the batch
  and another sample.
  """

  reads_out = False

  def _objective(self, variables, batch, key):
    """Returns the negative log-probability of labels, and their scores."""
    key_support, key = jax.random.split(key)
    support, old = self._recall(variables, key_support)
    posterior = self._posterior(variables, support, old.targets, old.weight)
    inputs, labels, weight = self._beside(variables, batch, key)
    features = self._outputs(variables, inputs)
    scores = class_posteriors.log_joint(posterior, features, self.arm.variance)
    value = losses.weighted_cross_entropy(scores, labels, weight)
    return value, scores[: len(batch.targets)]

  def _posterior(self, variables, inputs, labels, weight):
    """Returns the posterior of examples with the network's current features."""
    features = self._outputs(variables, inputs)
    start = class_posteriors.prior(self.stream.classes, self.arm.widths[-1])
    return class_posteriors.updated(
      start, features, labels, self.arm.variance, weight
    )

  def _scores(self, variables, inputs):
    """Returns the log-probabilities of classes and features."""
    memory = variables["memory"]
    posterior = self._posterior(
      variables,
      self.load(memory.inputs),
      memory.targets,
      memory.filled.astype(jnp.float32),
    )
    features = self._outputs(variables, inputs)
    return class_posteriors.log_joint(posterior, features, self.arm.variance)


class MEMO(Replay):
  """Shared blocks, and a special block for each task; see `memo`."""

  def __init__(self, *args, **kwargs):
    super().__init__(*args, **kwargs)
    if decay := self.arm.optimizer.weight_decay:
      expected = "0, as it would move blocks that are not trained any more"
      raise validate.error("optimizer.weight_decay", decay, expected)

  def _parameters(self, key):
    """Returns the parameters, with places for the blocks of all tasks."""
    params = dict(super()._parameters(key))
    tasks, width = self.stream.tasks, self.arm.widths[-1]
    params["special"] = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (tasks, *x.shape)), params["special"]
    )
    shape = tasks * width, self.stream.classes
    kernel = _kernel(jax.random.fold_in(key, 1), shape)
    kernel = kernel.reshape(tasks, width, -1)
    params["head"] = params["head"] | {"kernel": kernel}
    return params | {"auxiliary": self._auxiliary(key)}

  def _auxiliary(self, key):
    """Returns a new auxiliary read-out: "old", and each new class."""
    shape = self.arm.widths[-1], self.stream.per_task + 1
    kernel = _kernel(jax.random.fold_in(key, 2), shape)
    return {"kernel": kernel, "bias": jnp.zeros(shape[1:])}

  def _objective(self, variables, batch, key):
    """Returns the cross-entropy, and that of the auxiliary read-out."""
    task, old = self.task(variables), self._old(variables)
    params = dict(variables["params"])
    params["special"] = memo.frozen(params["special"], task)
    if not self.arm.train_shared:
      for name in params.keys() & {"base", "sequence"}:
        fixed = jax.lax.stop_gradient(params[name])
        params[name] = masks.choose(task == 0, params[name], fixed)
    inputs, labels, weight = self._beside(variables, batch, key)
    variables = {**variables, "params": params}
    features = self._features(variables, inputs)
    logits = self._read_out(variables, features)
    value = losses.weighted_cross_entropy(logits, labels, weight)
    extra = params["auxiliary"]
    others = features[task] @ extra["kernel"] + extra["bias"]
    value += self.arm.auxiliary * losses.weighted_cross_entropy(
      others, memo.auxiliary_targets(labels, old), weight
    )
    return value, logits[: len(batch.targets)]

  def _old(self, variables):
    """Returns the number of classes of earlier tasks."""
    return self.task(variables) * self.stream.per_task

  def _features(self, variables, inputs):
    """Returns the features of each special block, (tasks, n, width)."""
    params = variables["params"]
    shared = self.network.apply({"params": params}, inputs, method="shared")

    def special(block):
      params = {"special": block}
      return self.network.apply(
        {"params": params}, shared, method=lambda net, x: net.special(x)
      )

    return jax.vmap(special)(params["special"])

  def _read_out(self, variables, features):
    """Returns the logits of the classes seen."""
    task, head = self.task(variables), variables["params"]["head"]
    classes = self._old(variables) + self.stream.per_task
    return memo.read_out(features, head["kernel"], head["bias"], task, classes)

  def _outputs(self, variables, inputs):
    """Returns the read-out of all blocks so far."""
    return self._read_out(variables, self._features(variables, inputs))

  def _offered(self, variables, batch, logits, key):
    """Returns nothing: exemplars are chosen at the end of a task."""
    del variables, batch, logits, key
    return {}

  def _finish(self, variables, examples, inside, key):
    """Returns the memory with herded exemplars, and aligned weights."""
    del key
    task, old = self.task(variables), self._old(variables)
    new = self.stream.per_task
    features = self._features(variables, examples.inputs)
    has_begun = jnp.arange(self.stream.tasks) <= task
    features = jnp.where(has_begun[:, None, None], features, 0)
    features = jnp.moveaxis(features, 0, 1).reshape(len(inside), -1)
    ranks = jnp.full(len(inside), len(inside))
    count = min(self.size // new, len(inside))
    for label in range(new):
      mask = inside & (examples.targets == old + label)
      ranks = jnp.where(mask, exemplars.herd(features, mask, count), ranks)
    memory = exemplars.balanced(
      variables["memory"],
      self.store(examples.inputs),
      examples.targets,
      # Rows beyond the task must not be stored.
      jnp.where(inside, ranks, self.size),
      old + new,
    )
    if not self.arm.align:
      return {"memory": memory}
    params = variables["params"]
    kernel = memo.aligned(params["head"]["kernel"], task, old, old + new)
    head = params["head"] | {"kernel": kernel}
    return {"memory": memory, "params": params | {"head": head}}

  def _start(self, variables, key):
    """Returns the parameters with the next block, and a new auxiliary head."""
    params = variables["params"]
    special = memo.grown(params["special"], self.task(variables))
    extra = self._auxiliary(key)
    return {"params": params | {"special": special, "auxiliary": extra}}


METHODS = {
  "finetune": task_learner.Learner,
  "joint": Joint,
  "replay": Replay,
  "derpp": DERpp,
  "er_ace": ERACE,
  "ewc": EWC,
  "protocl": ProtoCL,
  "memo": MEMO,
}
