"""LightNet against both public codes of its layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import recurrence
from jaxseq.mixers import positions
from jaxseq.mixers.averages import _tpe
from jaxseq.mixers.averages import lightnet
from tests.mixers.golden_cases import FORWARD
from tests.mixers.golden_cases import GRADIENT
from tests.mixers.golden_cases import close

# The layer of fla-org/flash-linear-attention, here with narrow keys.
FLA = lightnet.Config(
  16,
  heads=2,
  d_key=4,
  delta_0=0,
  gate="silu",
  gate_position="post",
  gate_rank=4,
  norm_eps=1e-6,
  norm_eps_on="mean",
  scale_q=True,
  lrpe="none",
)
# That of Doraemonzzz/xmixers.
LAYERS = {
  "layer_fla": FLA,
  "layer_vec_nolrpe": lightnet.Config(16, heads=2, lrpe="none"),
  "layer_vec_coslrpe": lightnet.Config(16, heads=2),
  "layer_scalar_rotlrpe": lightnet.Config(
    16, heads=2, decay="scalar", lrpe="rotary"
  ),
}


def layer_params(data, prefix):
  """Parameters of either code, or their gradients, in our layout."""
  gate = "g_proj" if f"{prefix}g_proj.0.weight" in data else "output_gate"
  names = {f"W_{name}": f"{name}_proj" for name in "qkvo"}
  names |= {"W_u1": f"{gate}.0", "W_u2": f"{gate}.1"}
  if f"{prefix}f_proj.weight" in data:
    names["W_f"] = "f_proj"
  params = {
    ours: data[f"{prefix}{theirs}.weight"].T for ours, theirs in names.items()
  }
  norm = "g_norm" if gate == "g_proj" else "norm"
  return params | {"norm": data[f"{prefix}{norm}.weight"]}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param("layer_fla", marks=pytest.mark.slow),
    "layer_scalar_rotlrpe",
    pytest.param("layer_vec_nolrpe", marks=pytest.mark.slow),
    pytest.param("layer_vec_coslrpe", marks=pytest.mark.slow),
  ],
)
def test_golden_layer(x64, golden, name):
  """Outputs, and the gradients of sum(o * cot)."""
  del x64
  data, config = golden(f"lightnet/{name}"), LAYERS[name]

  @jax.jit
  def gradient(params, x):
    def loss(params, x):
      y, _ = lightnet.apply(config, params, x)
      return jnp.sum(y * data["cot"]), y

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

  (_, y), (grads, d_x) = gradient(layer_params(data, "p."), data["x"])
  close(y, data["o"], FORWARD)
  close(d_x, data["dx"], GRADIENT)
  expected = layer_params(data, "g.")
  assert grads.keys() == expected.keys()
  for key in grads:
    close(grads[key], expected[key], GRADIENT)


def test_golden_state_and_left_padding(x64, golden):
  del x64
  data = golden("lightnet/layer_fla")
  params = layer_params(data, "p.")
  apply = jax.jit(functools.partial(lightnet.apply, FLA))
  _, state = apply(params, data["x"])
  close(state.w / state.u[..., None], data["final_state"], FORWARD)
  z = state.m + jnp.log(state.u)
  close(z, data["final_z"][:, 0], FORWARD)
  mask = data["left_pad_mask"].astype(bool)
  y, _ = apply(params, data["x"], mask=mask)
  close(y[mask], data["o_left_pad"][mask], FORWARD)
  step = jax.jit(functools.partial(lightnet.step, FLA))
  state = lightnet.initial_state(FLA, (2,), jnp.float64)
  for t in range(7):
    y_t, state = step(params, data["x"][:, t], state, mask=mask[:, t])
    close(y_t, y[:, t], FORWARD)


@pytest.mark.slow
def test_golden_language_model(x64, golden):
  """TPE in the place of the embedding, two blocks: logits, all gradients."""
  del x64
  data = golden("lightnet/lm_tiny")
  config = LAYERS["layer_vec_coslrpe"]
  ids = data["input_ids"]

  def tree(kind):
    def block(i):
      prefix = f"{kind}.layers.{i}."
      mlp = [data[f"{prefix}channel_mixer.w{j}.weight"].T for j in (1, 2, 3)]
      return {
        "mixer": layer_params(data, f"{prefix}token_mixer."),
        "norms": [
          data[f"{prefix}{name}_norm.weight"] for name in ("token", "channel")
        ],
        "mlp": mlp,
      }

    tpe = {key: data[f"{kind}.tpe.{key}"] for key in ("q", "k", "log_decay")}
    tpe["norm"] = data[f"{kind}.tpe.norm.weight"]
    tpe["W_o"] = data[f"{kind}.tpe.o_proj.weight"].T
    return {
      "embedding": data[f"{kind}.embed_tokens.weight"],
      "tpe": tpe,
      "blocks": [block(0), block(1)],
      "norm": data[f"{kind}.final_norm.weight"],
      "head": data[f"{kind}.lm_head.weight"].T,
    }

  norm = functools.partial(positions.rms_norm, eps=1e-5, eps_on="sum")

  def toeplitz(params, x):
    """The language model's embedding: decayed sums of those of before."""
    decay = jnp.repeat(
      jax.nn.sigmoid(params["log_decay"]),
      x.shape[-1] // params["log_decay"].size,
    )
    gain = (params["q"] * params["k"]).reshape(params["log_decay"].size, -1)
    gain = jnp.repeat(gain.sum(-1), gain.shape[-1])
    sums, _ = recurrence.linear_scan(decay, x)
    return norm(gain * sums, params["norm"]) @ params["W_o"]

  def loss(params):
    x = toeplitz(params["tpe"], params["embedding"][ids])
    for block in params["blocks"]:
      y, _ = lightnet.apply(config, block["mixer"], norm(x, block["norms"][0]))
      x = x + y
      y = norm(x, block["norms"][1])
      w1, w2, w3 = block["mlp"]
      x = x + (jax.nn.silu(y @ w1) * (y @ w2)) @ w3
    logits = norm(x, params["norm"]) @ params["head"]
    log_probs = jax.nn.log_softmax(logits[:, :-1])
    picked = jnp.take_along_axis(log_probs, ids[:, 1:, None], axis=-1)
    return -jnp.mean(picked), logits

  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, logits), grads = gradient(jax.tree.map(jnp.asarray, tree("p")))
  close(logits, data["logits"], FORWARD)
  close(value, data["loss"], FORWARD)
  jax.tree.map(lambda a, b: close(a, b, GRADIENT), grads, tree("g"))


def test_golden_frequencies(golden):
  """Those that the original drew its angles from."""
  theta = golden("lightnet/layer_vec_coslrpe")["theta"][0]
  # The original computes them in float32.
  np.testing.assert_allclose(positions.frequencies(8, 8), theta, rtol=1e-6)
  theta = golden("lightnet/layer_scalar_rotlrpe")["theta"][0]
  np.testing.assert_allclose(positions.frequencies(4, 8), theta, rtol=1e-6)


@pytest.mark.parametrize("case", range(4))
def test_golden_single_scan(x64, golden, case):
  """Without time order: 1 to 3 axes, with extra elements, without positions."""
  del x64
  data = golden("lightnet/noncausal")
  prefix = f"c{case}_"
  data = {
    key.removeprefix(prefix): value
    for key, value in data.items()
    if key.startswith(prefix)
  }
  shape = tuple(data["shape"].tolist()) if data["use_md_lrpe"] else None

  @jax.jit
  def gradient(arguments):
    def loss(arguments):
      q, k, v, gate = arguments
      o = lightnet.single_scan(
        jax.nn.silu(q),
        k,
        v,
        shape,
        num_extra=int(data["num_extra"]),
        theta=data["theta"],
      )
      o = jax.nn.silu(gate) * o
      return jnp.sum(o * data["cot"]), o

    return jax.value_and_grad(loss, has_aux=True)(arguments)

  names = ("q", "k", "v", "gate")
  (_, o), grads = gradient([data[name] for name in names])
  close(o, data["o"], FORWARD)
  for grad, name in zip(grads, names):
    close(grad, data[f"d{name}"], GRADIENT)


def tpe_params(data, case, kind):
  """Parameters of MD-TPE or their gradients, of the array's first axis on."""
  # The code numbers the axes from the last one on.
  prefixes = [
    f"c{case}_{kind}.tpes.{j}." for j in range(len(data[f"c{case}_dims"]))
  ][::-1]
  names = {
    "tpe_q": "q",
    "tpe_k": "k",
    "tpe_decay": "log_decay",
    "tpe_norm": "norm.weight",
    "tpe_W_o": "o_proj.weight",
  }
  return {
    ours: np.stack(
      [
        data[prefix + theirs].T if ours == "tpe_W_o" else data[prefix + theirs]
        for prefix in prefixes
      ]
    )
    for ours, theirs in names.items()
  }


@pytest.mark.parametrize("case", [0, 1, 2])
def test_golden_md_tpe(x64, golden, case):
  """Outputs and gradients, at once and by steps; one axis is TPE."""
  del x64
  data = golden("lightnet/md_tpe")
  assert list(data[f"c{case}_dims"]) == [-2, -3, -4][: case + 1]
  x, y, cot, d_x = (data[f"c{case}_{name}"] for name in ("x", "y", "cot", "dx"))
  *grid, d = x.shape[1:]
  options = (
    {"positions": "md_tpe", "grid": grid} if case else {"positions": "tpe"}
  )
  config = lightnet.Config(d, heads=int(data[f"c{case}_num_heads"]), **options)
  rows = x.reshape(len(x), -1, d)
  place = jnp.arange(rows.shape[1])
  grid = config.grid

  def run(params, rows, sums, place):
    return _tpe.run(config, params, rows, sums, grid, place, None, None)

  def loss(params, rows):
    out, _ = run(params, rows, fresh, place)
    return jnp.sum(out * cot.reshape(rows.shape)), out

  fresh = _tpe.initial(config, x.shape[:1], jnp.float64)
  params = tpe_params(data, case, "p")
  (_, out), (grads, d_rows) = jax.jit(
    jax.value_and_grad(loss, (0, 1), has_aux=True)
  )(params, rows)
  close(out, y.reshape(out.shape), FORWARD)
  close(d_rows, d_x.reshape(out.shape), GRADIENT)
  expected = tpe_params(data, case, "g")
  for name, grad in grads.items():
    close(grad, expected[name], GRADIENT)
  sums, step = fresh, jax.jit(run)
  for t in range(rows.shape[1]):
    one, sums = step(params, rows[:, t : t + 1], sums, place[t : t + 1])
    close(one[:, 0], out[:, t], FORWARD)


def test_md_tpe_of_an_array_is_that_of_its_rows_in_time(x64):
  """What goes into the average is the same, with and without time order."""
  del x64
  config = lightnet.Config(8, heads=2, positions="md_tpe", grid=(3, 4))
  plain = lightnet.Config(8, heads=2, positions="none")
  params = lightnet.init(jax.random.key(0), config)
  rng = np.random.default_rng(0)
  params = {name: np.asarray(w, float) for name, w in params.items()}
  params["tpe_decay"] = rng.normal(size=(2, 2))
  rest = {name: w for name, w in params.items() if "tpe" not in name}
  x = rng.normal(size=(2, 12, 8))
  fresh = _tpe.initial(config, (2,), jnp.float64)
  placed, _ = _tpe.run(
    config, params, x, fresh, config.grid, jnp.arange(12), None, None
  )
  for options in ({}, {"shape": (3, 4)}):
    got, _ = lightnet.apply(config, params, x, **options)
    close(got, lightnet.apply(plain, rest, placed, **options)[0], FORWARD)
  # An extra element has no neighbors, and other sizes of the axes are fine.
  extra = rng.normal(size=(2, 1, 8))
  alone, _ = _tpe.run(
    config, params, extra, fresh, config.grid, jnp.zeros(1), None, None
  )
  got, _ = lightnet.apply(
    config,
    params,
    np.concatenate([extra, x], axis=1),
    shape=(3, 4),
    num_extra=1,
  )
  expected, _ = lightnet.apply(
    plain,
    rest,
    jnp.concatenate([alone, placed], axis=1),
    shape=(3, 4),
    num_extra=1,
  )
  close(got, expected, FORWARD)
  assert lightnet.apply(config, params, x, shape=(2, 6))[1] is None


def _two_layers(read, params, x):
  """Sum of the outputs of two layers, each behind a norm without a bias."""
  for layer in params:
    normed = positions.rms_norm(x, jnp.ones(x.shape[-1]), 1e-6)
    x = x + read(layer, normed)
  return positions.rms_norm(x, jnp.ones(x.shape[-1]), 1e-6).sum()


@pytest.mark.slow
def test_slopes_at_elements_of_zeros_are_those_of_the_equations(x64):
  """They are steep beyond a float32's square, at once and by float64 steps."""
  del x64
  config = lightnet.Config(8, heads=2, positions="md_tpe", grid=(3, 4))
  keys = jax.random.split(jax.random.key(0))
  params = [lightnet.init(key, config) for key in keys]
  x = np.random.default_rng(0).normal(size=(1, 12, 8))
  # The border on the left of the picture.
  x[:, ::4] = 0

  def at_once(params, x):
    return lightnet.apply(config, params, x)[0]

  def by_steps(params, x):
    def step(state, x):
      y, state = lightnet.step(config, params, x, state)
      return state, y

    state = lightnet.initial_state(config, x.shape[:1], x.dtype)
    _, y = jax.lax.scan(step, state, x.swapaxes(0, 1))
    return y.swapaxes(0, 1)

  def slopes(read, dtype):
    cast = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, x))
    return jax.jit(jax.grad(lambda *a: _two_layers(read, *a), 1))(*cast)

  expected = slopes(by_steps, np.float64)
  assert np.square(expected).max() > np.finfo(np.float32).max
  # Of values that go through three norms a layer; of the largest of a row.
  for got, row in zip(slopes(at_once, np.float32)[0], expected[0]):
    np.testing.assert_allclose(got, row, rtol=0, atol=1e-4 * np.abs(row).max())


def test_a_second_array_begins_with_sums_of_its_own(x64):
  del x64
  config = lightnet.Config(4, heads=2, positions="md_tpe", grid=(2, 3))
  params = lightnet.init(jax.random.key(0), config)
  x = np.random.default_rng(0).normal(size=(1, 12, 4))
  fresh = _tpe.initial(config, (1,), jnp.float64)
  place = jnp.arange(12.0)
  both, _ = _tpe.run(config, params, x, fresh, (2, 3), place, None, None)
  for begin in (0, 6):
    one, _ = _tpe.run(
      config,
      params,
      x[:, begin : begin + 6],
      fresh,
      (2, 3),
      place[:6],
      None,
      None,
    )
    close(both[:, begin : begin + 6], one, FORWARD)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"positions": "md_tpe"}, r"grid: got \(\), expected sizes of axes with"),
    ({"grid": (8, 8)}, r"grid: got \(8, 8\), expected sizes of axes with"),
    ({"positions": "md_tpe", "grid": (8, 0)}, "grid: got 0, expected an int"),
  ],
)
def test_grids_that_do_not_fit(options, message):
  with pytest.raises(ValueError, match=message):
    lightnet.Config(8, **options)
