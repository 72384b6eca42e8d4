"""The layers and stacks against values of the original implementations."""

import chex
from flax import linen
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseq import nn

# float64 on both sides; the originals scan in another order.
_TOLERANCE = {"rtol": 1e-9, "atol": 1e-10}


def _tree(data, prefix):
  """The arrays below a prefix as a tree; the original's "seq" is "mixer"."""
  flat = {
    tuple(name.removeprefix(prefix).replace("seq", "mixer").split("/")): array
    for name, array in data.items()
    if name.startswith(prefix)
  }
  return jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(flat))


def _stack(params, mixer_options=None, **options):
  """The stack of S5 layers that have mixer parameters of these shapes."""
  states, width, _ = params["B"].shape
  mixer_options = {"ssm_size": 2 * states, "blocks": 1, **(mixer_options or {})}
  return nn.StackConfig(
    "s5", mixer_options, d_model=width, final_norm=False, **options
  )


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize(
  "activation", ["full_glu", "half_glu1", "half_glu2", "gelu"]
)
@pytest.mark.parametrize(
  "kind", ["layer", pytest.param("model", marks=pytest.mark.slow)]
)
def test_s5_layer(golden, x64, activation, order, kind):
  data = golden("ssm/s5_layer")
  prefix = f"{activation}_{order}/"
  params = _tree(data, f"{prefix}param/")
  options = {
    "norm": "layer",
    "prenorm": order == "pre",
    "activation": activation,
  }
  x = jnp.asarray(data[f"{prefix}x"])
  config = _stack(params["mixer"], num_layers=1, **options)
  if kind == "layer":
    layer = nn.SequenceLayer(config)
    y, _ = layer.apply({"params": params}, x)
  else:
    model = nn.SequenceModel(config)
    y, _ = model.apply({"params": {"layers_0": params}}, x)
  np.testing.assert_allclose(y, data[f"{prefix}y"], **_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(
  "case", [pytest.param("uni_glu", marks=pytest.mark.slow), "bi_glu"]
)
def test_s4_block(golden, x64, case):
  """The block of S4's code, whose arrays have a diagonal kernel."""
  del x64
  data = golden("ssm/s4_block")
  raw = _tree(data, f"{case}/param/")
  both = case.startswith("bi")
  H, M = raw["layer.kernel.A_real"].shape
  C, inv_dt = raw["layer.kernel.C"], raw["layer.kernel.inv_dt"]
  mixer = {
    "Lambda_re": raw["layer.kernel.A_real"],
    "Lambda_im": -raw["layer.kernel.A_imag"],
    "B": raw["layer.kernel.B"][0],
    "C": C if both else C[0],
    "D": raw["layer.D"][0],
    "log_step": inv_dt[:, 0],
  }
  kernels = jnp.split(raw["output_linear.0.weight"].T, 2, axis=1)
  biases = jnp.split(raw["output_linear.0.bias"], 2)
  params = {
    f"out{i + 1}": {"kernel": kernels[i], "bias": biases[i]} for i in range(2)
  }
  config = nn.StackConfig(
    "s4d",
    {"d_state": 2 * M, "dt_transform": "softplus", "bidirectional": both},
    d_model=H,
    activation="full_glu",
    exact_gelu=True,
    residual=False,
    norm="none",
  )
  y, _ = nn.SequenceLayer(config).apply(
    {"params": {"mixer": mixer, **params}}, jnp.asarray(data[f"{case}/x"])
  )
  np.testing.assert_allclose(y, data[f"{case}/y"], **_TOLERANCE)


_STACKS = {
  "plain": {},
  "pre": {"norm": "layer"},
  "pre_gtrxl": {"norm": "layer", "gtrxl_norm": True, "shared_norm": True},
  "post": {"norm": "layer", "prenorm": False},
}


@pytest.mark.parametrize("name", list(_STACKS))
@pytest.mark.parametrize(
  "scan_layers", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_s5_reset_stack(golden, x64, name, scan_layers):
  data = golden("ssm/s5_reset_stack")
  params = _tree(data, f"{name}/param/")
  config = _stack(
    params["layers_0"]["mixer"],
    {"c_init": "lecun_normal"},
    num_layers=2,
    scan_layers=scan_layers,
    **{"norm": "none", "activation": "full_glu", **_STACKS[name]},
  )
  states = jnp.asarray(data[f"{name}/h0"])
  expected = jnp.asarray(data[f"{name}/hT"])
  if scan_layers:
    layers = [params["layers_0"], params["layers_1"]]
    params = {"layers": jax.tree.map(lambda *a: jnp.stack(a), *layers)}
    states, expected = states.swapaxes(0, 1), expected.swapaxes(0, 1)
  else:
    states, expected = tuple(states), tuple(expected)
  # The original is time-major.
  x = jnp.asarray(data[f"{name}/x"]).swapaxes(0, 1)
  reset = jnp.asarray(data[f"{name}/resets"]).T > 0
  y, states = nn.SequenceModel(config).apply(
    {"params": params}, x, states, reset
  )
  np.testing.assert_allclose(y.swapaxes(0, 1), data[f"{name}/y"], **_TOLERANCE)
  chex.assert_trees_all_close(states, expected, **_TOLERANCE)


class _Classifier(linen.Module):
  """An encoder, a sequence model, a pooled head: the composition of S5."""

  config: nn.StackConfig

  @linen.compact
  def __call__(self, x, lengths, train=False):
    x = linen.Dense(5, dtype=x.dtype, name="encoder")(x)
    x, _ = nn.SequenceModel(self.config, name="model")(x, train=train)
    head = nn.ClassificationHead(num_classes=4, name="decoder")
    return linen.log_softmax(head(x, lengths))


def _classifier_tree(tree):
  """Renames the levels of the original's parameters."""
  layers = dict(tree["encoder"])
  renamed = {}
  if "encoder" in layers:
    renamed["encoder"] = layers.pop("encoder")
    renamed["decoder"] = {"mlp": {"dense_0": tree["decoder"]}}
  return renamed | {"model": layers}


def test_s5_classifier(golden, x64):
  data = golden("ssm/s5_layer")
  params = _classifier_tree(_tree(data, "cls/param/"))
  config = _stack(
    params["model"]["layers_0"]["mixer"],
    {"bidirectional": True},
    num_layers=2,
    norm="batch",
    activation="half_glu1",
  )
  variables = {
    "params": params,
    "batch_stats": _classifier_tree(_tree(data, "cls/batch_stats/")),
  }
  classifier = _Classifier(config)
  x, lengths = jnp.asarray(data["cls/x"]), jnp.asarray(data["cls/lengths"])
  logp = classifier.apply(variables, x, lengths)
  np.testing.assert_allclose(logp, data["cls/logp_eval"], **_TOLERANCE)
  logp, changed = classifier.apply(
    variables, x, lengths, train=True, mutable=["batch_stats"]
  )
  np.testing.assert_allclose(logp, data["cls/logp_train"], **_TOLERANCE)
  chex.assert_trees_all_close(
    changed["batch_stats"],
    _classifier_tree(_tree(data, "cls/batch_stats_after/")),
    **_TOLERANCE,
  )
