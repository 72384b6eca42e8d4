"""SPR's golden updates, by the PyTorch agent of the benchmarks.

Needs torch; `python -m tests.interop.spr_updates` writes the files
`full_update_*_first.npz` below `tests/golden/spr`. SPR's own code wrote
`full_update_*.npz` with an n-step done flag that looks at all n steps ("any"),
and there every return is cut. The new files are the same updates with the flag
of the released code, which looks at the first step only ("first").
"""

import pathlib

import numpy as np
import torch

from benchmarks import spr_torch_agent
from tests.spr import reference

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "spr"
NAMES = ("tau1", "tau001")

# The original's names of layers and their tensors, and the agent's.
_LAYERS = {
  "conv.conv.0": "convs.0",
  "conv.conv.2": "convs.1",
  "conv.conv.4": "convs.2",
  "head.advantage_hidden.1": "advantage_hidden",
  "head.advantage_out": "advantage_out",
  "head.value.1": "value_hidden",
  "head.value.3": "value_out",
  "dynamics_model.network.0.net.0": "conv_in",
  "dynamics_model.network.2": "norm",
  "dynamics_model.network.3.net.0": "conv_out",
  "global_final_classifier.0": "predictor",
  "target_encoder.conv.0": "convs.0",
  "target_encoder.conv.2": "convs.1",
  "target_encoder.conv.4": "convs.2",
  "spr_target_value_hidden": "value_hidden",
  "spr_target_advantage_hidden": "advantage_hidden",
}
_LEAVES = {
  "weight_mu": "w",
  "weight_sigma": "w_sigma",
  "bias_mu": "b",
  "bias_sigma": "b_sigma",
}


def _own_name(name):
  if name == "head.advantage_bias":
    return "advantage_bias"
  layer, leaf = str(name).rsplit(".", 1)
  return f"{_LAYERS[layer]}.{_LEAVES.get(leaf, leaf)}"


def _load(network, tensors):
  """Sets some parameters."""
  _, unexpected = network.load_state_dict(
    {_own_name(name): torch.from_numpy(x) for name, x in tensors.items()},
    strict=False,
  )
  assert not unexpected, unexpected


def _noise(seed, network):
  sizes = spr_torch_agent.noise_sizes(network)
  return {
    name: [spr_torch_agent.scale_noise(torch.from_numpy(x)) for x in pair]
    for name, pair in reference.normals(seed, sizes).items()
  }


def _agent(arrays):
  network = spr_torch_agent.Network(
    int(arrays["num_actions"]), int(arrays["hidden"]), epsilon=0.0
  ).double()
  own = {name for name, _ in network.named_parameters()}
  assert own == {_own_name(name) for name in arrays["param_names"]}
  _load(network, reference.tensors(arrays, "param", "param_shapes"))
  agent = spr_torch_agent.Agent(
    network,
    _noise(int(arrays["noise_seed_target"]), network),
    float(arrays["momentum_tau"]),
  )
  _load(agent.target, reference.tensors(arrays, "target", "param_shapes"))
  _load(
    agent.momentum, reference.tensors(arrays, "momentum", "momentum_shapes")
  )
  return agent


def _batch(arrays, done_n):
  images = torch.from_numpy(reference.stacks(arrays))
  ahead, n = int(arrays["K"]), int(arrays["n_step"])
  done = torch.from_numpy(arrays["done"])
  done_n = torch.from_numpy(arrays["done_n"]) if done_n == "any" else done
  return {
    "images": images[: ahead + 1],
    "next": images[n],
    "action": torch.from_numpy(arrays["all_action"][1 : ahead + 1]),
    "return_n": torch.from_numpy(arrays["return_n"][0]),
    "discount": float(arrays["gamma"]) ** n,
    "done": done,
    "done_n": done_n[0],
    "weight": torch.from_numpy(arrays["is_weights"]),
  }


def run(arrays, done_n):
  """Makes the updates of a golden file.

  Args:
    arrays: the original's.
    done_n: "any" or "first", the steps whose ends cut the returns.

  Returns:
    What depends on the flag, by the names of the original's arrays.
  """
  agent, batch = _agent(arrays), _batch(arrays, done_n)
  noise = _noise(int(arrays["noise_seed_online"]), agent.network)
  parameters = dict(agent.network.named_parameters())
  parameters = [parameters[_own_name(name)] for name in arrays["param_names"]]
  momentum = dict(agent.momentum.named_parameters())
  momentum = [momentum[_own_name(name)] for name in arrays["momentum_names"]]
  entries = arrays["grad_head"].shape[1]

  def heads(tensors):
    return np.stack([x.detach().ravel()[:entries].numpy() for x in tensors])

  agent.backward(batch, noise)
  grads = [x.grad.clone() for x in parameters]
  updates = [
    agent.update(batch, noise) for _ in range(int(arrays["n_updates"]))
  ]
  logged = np.stack([metrics.numpy() for metrics, _ in updates])
  after = [x.detach().numpy() for x in parameters]
  return {
    "total_loss": logged[0, 0],
    "rl_loss": logged[0, 1],
    "model_spr_loss": logged[0, 2],
    "stem_grad_norm": logged[0, 3],
    "dynamics_grad_norm": logged[0, 4],
    "kl": updates[0][1].numpy(),
    "grad_norms": np.array([np.linalg.norm(x) for x in grads]),
    "grad_head": heads(grads),
    "update_info": logged[:, 1:],
    "priorities": updates[-1][1].numpy(),
    "after_head": heads(parameters),
    "after_sum": np.array([x.sum() for x in after]),
    "after_sumsq": np.array([np.square(x).sum() for x in after]),
    "momentum_after_head": heads(momentum),
  }


def value_target(arrays):
  """The target distributions of a golden file with probabilities."""
  tensors = {name: torch.from_numpy(x) for name, x in arrays.items() if x.ndim}
  probs = tensors["target_probs_next"]
  chooser = tensors["online_probs_next"] if arrays["double_dqn"] else probs
  gamma_n = float(arrays["gamma"]) ** int(arrays["n_step"])
  return spr_torch_agent.value_target(
    probs,
    chooser,
    tensors["return_n"],
    gamma_n * (~tensors["done_n"]).double(),
  ).numpy()


def load(name):
  """The arrays of a golden file."""
  with np.load(GOLDEN / f"full_update_{name}.npz") as arrays:
    return dict(arrays)


def write_golden():
  for name in NAMES:
    results = run(load(name), "first")
    path = GOLDEN / f"full_update_{name}_first.npz"
    np.savez_compressed(path, torch_version=torch.__version__, **results)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
  write_golden()
