import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn
from jaxseq.nn import _expert_products
from jaxseq.nn import experts
from jaxseq.nn import feedforward

# float32 sums of a few products, in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
ROUTINGS = {
  "softmax": experts.Routing(4, 2),
  "one": experts.Routing(4, 1, renormalize=False, kind="relu2"),
  "top": experts.Routing(4, 3, score="softmax_top", kind="geglu"),
  "groups": experts.Routing(
    8,
    2,
    score="sigmoid",
    scale=2.5,
    selection_bias=True,
    groups=4,
    active_groups=2,
    shared_width=3,
    shared_gate=True,
  ),
  "latent": experts.Routing(
    4, 2, kind="relu2", bias=True, latent_width=3, shared_width=2
  ),
}


def make(routing, rows=12):
  x = jax.random.normal(jax.random.key(1), (rows, 5))
  module = experts.Experts(routing, 6)
  variables = jax.jit(module.init)(jax.random.key(0), x)
  if routing.selection_bias:
    bias = jnp.linspace(-0.4, 0.4, routing.experts)
    variables["params"]["selection_bias"] = bias
  if routing.bias:
    # They begin at zero.
    variables = jax.tree.map(
      lambda leaf: np.asarray(leaf) + np.float32(0.1), variables
    )
  return module, variables, x


def one_row(routing, params, x):
  """The sum over the chosen experts of one element, as NumPy has it."""
  logits = x @ params["router"]["kernel"]
  if routing.score == "sigmoid":
    scores = 1 / (1 + np.exp(-logits))
  else:
    scores = np.exp(logits) / np.exp(logits).sum()
  merits = scores + params.get("selection_bias", 0)
  size = routing.experts // routing.groups
  parts = merits.reshape(routing.groups, size)
  best = np.sort(parts, axis=1)[:, -2:].sum(1)
  kept = np.argsort(-best)[: routing.active_groups]
  allowed = [e for e in range(routing.experts) if e // size in kept]
  chosen = sorted(allowed, key=lambda e: -merits[e])[: routing.active]
  weights = scores[chosen]
  if routing.renormalize or routing.score == "softmax_top":
    weights = weights / weights.sum()
  y, seen = 0, x

  def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0)

  if routing.latent_width:
    seen = dense(params["latent_in"], x)
  for e, weight in zip(chosen, routing.scale * weights):
    inner = [params[name][e] for name in ("in", "gate") if name in params]
    values = feedforward.hidden(routing.kind, *(seen @ W for W in inner))
    y = y + weight * (np.asarray(values) @ params["out"][e])
  if routing.latent_width:
    y = dense(params["latent_out"], y)
    values = np.square(np.maximum(dense(params["shared"]["in"], x), 0))
    y = y + dense(params["shared"]["out"], values)
  elif "shared" in params:
    shared = params["shared"]
    values = np.asarray(jax.nn.silu(x @ shared["in"]["kernel"]))
    values = values * (x @ shared["gate"]["kernel"])
    gate = 1 / (1 + np.exp(-(x @ params["shared_gate"]["kernel"])))
    y = y + gate * (values @ shared["out"]["kernel"])
  return y


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROUTINGS))
def test_each_element_passes_its_best_experts(name):
  module, variables, x = make(ROUTINGS[name])
  y = jax.jit(module.apply)(variables, x)
  params = jax.tree.map(np.asarray, variables["params"])
  rows = [one_row(ROUTINGS[name], params, np.asarray(row)) for row in x]
  np.testing.assert_allclose(y, np.stack(rows), **CLOSE)


@pytest.mark.slow
def test_few_and_many_elements_agree():
  routing = ROUTINGS["softmax"]
  module, variables, x = make(routing)
  y = jax.jit(module.apply)(variables, x)
  few = jnp.concatenate([module.apply(variables, x[i : i + 1]) for i in (0, 7)])
  np.testing.assert_allclose(few, y[jnp.asarray([0, 7])], **CLOSE)


def every_row_through_every_expert(kind, x, chosen, shares, *matrices):
  """The plain form, where nothing overflows."""

  def each(number, matrices):
    *inner, out = matrices
    share = jnp.sum(jnp.where(chosen == number, shares, 0), axis=-1)
    part = feedforward.hidden(kind, *(x @ W for W in inner)) @ out
    return share[:, None] * part

  return jax.vmap(each)(jnp.arange(len(matrices[0])), matrices).sum(0)


@pytest.mark.parametrize("form", ["blocked", "ragged"])
@pytest.mark.parametrize(
  ("routing", "rows"),
  [
    (experts.Routing(4, 2), 12),
    (experts.Routing(4, 4, kind="relu2"), 12),
    (experts.Routing(16, 3, kind="geglu"), 70),
    (experts.Routing(2, 1), 37),
  ],
  ids=str,
)
def test_sorted_rows_have_values_and_gradients_of_the_plain_form(
  x64, form, routing, rows
):
  keys = jax.random.split(jax.random.key(0), 5)
  count = 2 + feedforward.KINDS[routing.kind].gated
  # Experts that nobody chooses, and uneven numbers of rows.
  logits = jax.random.normal(keys[0], (rows, routing.experts))
  logits = logits + jnp.linspace(-2, 2, routing.experts)
  chosen, shares = experts.route(logits, routing)
  x = jax.random.normal(keys[1], (rows, 5))
  matrices = [
    jax.random.normal(key, (routing.experts, 5, 5)) for key in keys[-count:]
  ]

  def run(function):
    def loss(x, shares, *matrices):
      y = function(routing.kind, x, chosen, shares, *matrices)
      return jnp.sum(jnp.sin(y)), y

    over = tuple(range(2 + count))
    loss = jax.value_and_grad(loss, over, has_aux=True)
    return jax.jit(loss)(x, shares, *matrices)

  chex.assert_trees_all_close(
    run(getattr(_expert_products, form)),
    run(every_row_through_every_expert),
    rtol=1e-10,
    atol=1e-12,
  )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("form", "rows"), [("mix", 4), ("blocked", 12)])
def test_weights_in_tiles_have_the_values_that_the_gradient_sees(
  monkeypatch, form, rows, dtype
):
  # Three tiles of two columns; the last one overlaps.
  monkeypatch.setattr(_expert_products, "_TILE", 40)
  routing = experts.Routing(8, 2)
  keys = jax.random.split(jax.random.key(0), 5)
  logits = jax.random.normal(keys[0], (rows, routing.experts))
  chosen, shares = experts.route(logits, routing)
  x = jax.random.normal(keys[1], (rows, 5), dtype)
  matrices = [jax.random.normal(key, (8, 5, 5)) for key in keys[2:]]
  mixed = functools.partial(
    getattr(_expert_products, form), routing.kind, x, chosen, shares
  )
  alone = jax.jit(mixed)(*matrices)
  seen, _ = jax.jit(lambda *matrices: jax.vjp(mixed, *matrices))(*matrices)
  assert alone.dtype == seen.dtype
  close = {"rtol": 2e-2, "atol": 5e-2} if dtype == "bfloat16" else CLOSE
  np.testing.assert_allclose(*(np.float32(y) for y in (alone, seen)), **close)


@pytest.mark.parametrize("form", ["mix", "blocked", "ragged"])
@pytest.mark.parametrize(
  ("kind", "dtype", "factor"),
  [("swiglu", "float16", 300), ("relu2", "float32", 1e20)],
)
def test_an_expert_that_overflows_keeps_to_its_rows(form, kind, dtype, factor):
  chosen = jnp.asarray([[2, 0], [2, 1], [2, 0], [0, 1], [3, 0], [1, 3]])
  shares = jnp.full(chosen.shape, 0.5)
  x = jax.random.normal(jax.random.key(1), (6, 5), dtype)
  count = 2 + feedforward.KINDS[kind].gated
  matrices = [
    jax.random.normal(key, (4, 5, 5))
    for key in jax.random.split(jax.random.key(0), count)
  ]
  matrices = [W.at[3].multiply(factor) for W in matrices]
  function = getattr(_expert_products, form)

  def run(x, chosen, shares, *matrices):
    y = function(kind, x, chosen, shares, *matrices)
    return jnp.sum(jnp.where(jnp.isfinite(y), y, 0.0)), y

  slope = jax.jit(jax.grad(run, (0, *range(3, 3 + count)), has_aux=True))
  (dx, *slopes), y = slope(x, chosen, shares, *matrices)
  healthy = ~np.any(np.asarray(chosen) == 3, axis=-1)
  assert not np.isfinite(y[~healthy]).all()
  assert np.isfinite(y[healthy]).all()
  assert np.isfinite(dx[healthy]).all()
  alone = [
    _expert_products.mix(
      kind, x[i : i + 1], chosen[i : i + 1], shares[:1], *matrices
    )
    for i in range(6)
  ]
  close = {"rtol": 1e-2, "atol": 1e-2} if dtype == "float16" else CLOSE
  np.testing.assert_allclose(
    y[healthy], jnp.concatenate(alone)[healthy], **close
  )
  for own in slopes:
    assert np.isfinite(own[:3]).all()


@pytest.mark.parametrize("name", list(ROUTINGS))
def test_rows_together_are_what_each_is_alone(name):
  """Also where an expert has no finite weights."""
  routing = ROUTINGS[name]
  module, variables, x = make(routing)
  params = variables["params"]
  logits = x @ params["router"]["kernel"]
  chosen, _ = experts.route(logits, routing, params.get("selection_bias"))
  counts = jnp.bincount(chosen.reshape(-1), length=routing.experts)
  rarest = jnp.argmin(jnp.where(counts > 0, counts, len(x)))
  params["out"] = jnp.asarray(params["out"]).at[rarest].set(jnp.inf)
  apply = jax.jit(module.apply)
  together = apply(variables, x)
  alone = jnp.concatenate([apply(variables, row[None]) for row in x])
  finite = jnp.isfinite(alone)
  assert 0 < finite.all(axis=1).sum() < len(x)
  np.testing.assert_array_equal(jnp.isfinite(together), finite)
  np.testing.assert_allclose(together[finite], alone[finite], **CLOSE)


def test_balance_loss_is_one_where_experts_are_in_equal_use():
  routing = experts.Routing(4, 1)
  even = 9.0 * jnp.eye(4)
  assert abs(experts.balance_loss(even, routing) - 1) < 1e-5
  assert experts.balance_loss(jnp.roll(even[:1], 0), routing) > 3.9


def test_nothing_is_in_balance():
  routing = experts.Routing(4, 1)
  loss = jax.value_and_grad(experts.balance_loss)
  logits, mask = jnp.ones((2, 3, 4)), jnp.zeros((2, 3), bool)
  value, slope = loss(logits, routing, mask)
  assert value == 0
  np.testing.assert_array_equal(slope, 0)


@pytest.mark.slow
def test_the_balance_loss_is_among_the_losses_of_a_stack():
  options = {"experts": 4, "balance_weight": 0.5}
  config = nn.StackConfig(
    "gru", d_model=5, feedforward="experts", feedforward_options=options
  )
  x = jax.random.normal(jax.random.key(1), (2, 3, 5))
  for scan_layers in (False, True):
    changed = {"scan_layers": scan_layers}
    model = nn.SequenceModel(nn.stack.dataclasses.replace(config, **changed))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    assert set(variables) == {"params"}
    _, found = model.apply(variables, x, mutable=["losses"])
    total = sum(map(jnp.sum, jax.tree.leaves(found["losses"])))
    # Two layers; no use of experts is more even than an equal one.
    assert 1 <= float(total) < 4


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"experts": 3, "groups": 2}, "groups: got 2, expected a divisor of"),
    ({"experts": 4, "active": 5}, "active: got 5, expected"),
    ({"groups": 2, "active_groups": 3}, "active_groups: got 3, expected"),
    ({"shared_gate": True}, "shared_gate: got True, expected False without"),
    ({"score": "max"}, "score: got 'max', expected one of 'softmax'"),
    (
      {"experts": 4, "groups": 4, "active_groups": 2},
      "groups: got 4, expected at most half",
    ),
  ],
)
def test_errors_name_what_came(options, message):
  with pytest.raises(ValueError, match=message):
    experts.Routing(**options)
