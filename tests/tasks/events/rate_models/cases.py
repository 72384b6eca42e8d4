"""Golden models: their configurations and parameters, in our layout."""

import jax.numpy as jnp
import numpy as np

from jaxseq.tasks.events.rate_models import attnhp
from jaxseq.tasks.events.rate_models import nhp
from jaxseq.tasks.events.rate_models import s2p2


def nhp_model(data):
  W = data["param/layer_intensity.0.weight"]
  params = {
    "E": data["param/layer_type_emb.weight"],
    "W": data["param/rnn_cell.linear_layer.weight"].T,
    "b": data["param/rnn_cell.linear_layer.bias"],
    "read_out": {
      "w": W,
      "b": data["param/layer_intensity.0.bias"],
      "log_beta": data["param/layer_intensity.1.log_beta"],
    },
  }
  return nhp, nhp.Config(*W.shape), params


def attnhp_model(data):
  E = data["param/layer_type_emb.weight"]
  heads, layers = int(data["num_heads"]), int(data["num_layers"])
  params = {
    "E": E,
    "read_out": {
      "w": data["param/inten_linear.weight"],
      "b": data["param/inten_linear.bias"],
      "log_beta": data["param/softplus.log_beta"],
    },
  }
  for i, name in enumerate("qkv"):
    path = "param/heads.{}.{}.self_attn.linears.{}.{}"
    W, b = (
      np.stack(
        [
          data[path.format(head, layer, i, kind)]
          for head in range(heads)
          for layer in range(layers)
        ]
      )
      for kind in ("weight", "bias")
    )
    params[name] = {"W": W.transpose(0, 2, 1), "b": b}
  if data["layer_norm"]:
    params["norm"] = {
      "scale": data["param/norm.weight"],
      "shift": data["param/norm.bias"],
    }
  config = attnhp.Config(
    len(params["read_out"]["b"]),
    E.shape[1],
    num_layers=layers,
    heads=heads,
    d_time=int(data["time_emb"]),
    layer_norm=bool(data["layer_norm"]),
    chained_heads=True,
  )
  return attnhp, config, params


def s2p2_model(data):
  option = {
    name.removeprefix("option/"): value
    for name, value in data.items()
    if name.startswith("option/")
  }
  complex_values = bool(option.get("complex_values", True))
  form = "impulse"
  for name in ("forward", "backward"):
    if option.get(f"int_{name}_variant", False):
      form = name

  def kept(x):
    x = np.asarray(x)
    return np.stack([x.real, x.imag], -1).astype(float) if complex_values else x

  names = {
    "x0": "initial_state_P",
    "E": "E_tilde_PH",
    "C": "C_tilde_HP",
    "B": "B_tilde_PH",
  }
  plain = {
    "log_decay": "Lambda_P_log_neg_real",
    "frequency": "Lambda_P_imag",
    "D": "D_HH",
  }
  pairs = {
    "norm": ("norm", "scale", "shift"),
    "pace": ("delta_net", "W", "b"),
    "act": ("act_func.0", "W", "b"),
  }
  params = {
    "marks": data["param/layers_mark_emb.weight"],
    "read_out": {
      "w": data["param/intensity_net.intensity_net.weight"],
      "b": data["param/intensity_net.intensity_net.bias"],
      "log_beta": data["param/intensity_net.softplus.log_beta"],
    },
  }
  for i in range(int(data["layers"])):
    front = f"param/layers.{i}."
    layer = {
      name: kept(data[front + path])
      for name, path in names.items()
      if front + path in data
    }
    layer |= {
      name: data[front + path]
      for name, path in plain.items()
      if front + path in data
    }
    for name, (path, first, second) in pairs.items():
      if f"{front}{path}.weight" in data:
        layer[name] = {
          first: data[f"{front}{path}.weight"],
          second: data[f"{front}{path}.bias"],
        }
    params[f"layers_{i}"] = layer
  config = s2p2.Config(
    len(params["read_out"]["b"]),
    params["marks"].shape[1],
    num_layers=int(data["layers"]),
    num_states=data["param/layers.0.Lambda_P_imag"].shape[0],
    form=form,
    relative_time=bool(option.get("relative_time", False)),
    activation=str(option["act_func"]),
    norm="post" if option["post_norm"] else "pre",
    complex_values=complex_values,
    released_shift=form == "forward",
  )
  return s2p2, config, params


def model(name, data):
  """Returns the module, configuration and parameters of a golden file."""
  kind = name.split("_")[0]
  make = {"nhp": nhp_model, "attnhp": attnhp_model, "s2p2": s2p2_model}[kind]
  module, config, params = make(data)
  return module, config, jax_tree(params)


def jax_tree(tree):
  if isinstance(tree, dict):
    return {name: jax_tree(value) for name, value in tree.items()}
  return jnp.asarray(tree)
