"""What the configs of disentangled time series share."""

import ml_collections

# Arms of the comparisons, by method; weights as in `jaxseq.dts.methods`.
METHODS = {
  "vae": {"method": "vae"},
  "beta_vae_4": {"method": "beta_vae", "beta": 4.0},
  "beta_vae_10": {"method": "beta_vae", "beta": 10.0},
  "beta_tcvae_4": {"method": "beta_tcvae", "beta": 4.0},
  "beta_tcvae_10": {"method": "beta_tcvae", "beta": 10.0},
  "factor_vae": {"method": "factor_vae", "gamma": 10.0},
  "info_vae": {
    "method": "info_vae",
    "alpha": 0.5,
    "lam": 10.0,
    "kl_marg": "mmd",
  },
  "annealed_vae": {"method": "annealed_vae", "capacity": 20.0},
  "dip_vae_i": {"method": "dip_vae_i"},
  "dip_vae_ii": {"method": "dip_vae_ii"},
  "dts_light": {"method": "dts", "beta": 1.0, "alpha": 0.5},
  "dts_4": {"method": "dts", "beta": 4.0, "alpha": 3.5},
  "dts_10": {"method": "dts", "beta": 10.0, "alpha": 9.5},
  # The prior's shape of each coordinate costs no more than in a VAE.
  "dts_10_dw": {"method": "dts", "beta": 10.0, "alpha": 9.5, "w_dw": 1.0},
}


def arms(*names: str) -> dict[str, dict]:
  """Returns one arm for each of these methods."""
  chosen = {name: {"objective": METHODS[name]} for name in names}
  if "factor_vae" in chosen:
    # Ten times the published rate, in a hundredth of the updates: with less
    # the discriminator sees no total correlation worth a penalty.
    chosen["factor_vae"]["discriminator_learning_rate"] = 1e-3
  return chosen


def tcvae(beta: float, **options: object) -> dict[str, dict]:
  """Returns an arm of beta-TCVAE with these options of the objective."""
  return {"objective": {"method": "beta_tcvae", "beta": beta, **options}}


def dts(beta: float, alpha: float, **options: object) -> dict[str, dict]:
  """Returns an arm of DTS; its dimension-wise KL weighs 1, as in a VAE."""
  weights = {"beta": beta, "alpha": alpha, "w_dw": 1.0}
  return {"objective": {"method": "dts", **weights, **options}}


def mixer(name: str, num_layers: int = 1) -> dict[str, object]:
  """Returns the stack of a backbone with this mixer."""
  return {
    "mixer": name,
    "d_model": 32,
    "num_layers": num_layers,
    "norm": "layer",
    "activation": "half_glu2",
    "residual": True,
  }


def mixer_encoder(name: str) -> dict[str, object]:
  """Returns an encoder of one layer that reads in both directions."""
  return {"encoder": {"kind": "mixer", "stack": mixer(name)}}


def base(data: str, **options: object) -> ml_collections.ConfigDict:
  """Returns a comparison on series with known factors.

  Convolutions encode, and dense layers decode all times at once: nothing
  collapses, and what is compared is which coordinate means what.

  Args:
    data: name of the data set.
    **options: of its loader.
  """
  model = {
    "latent": 10,
    "encoder": {"kind": "conv", "widths": (32, 64, 64)},
    "decoder": {"kind": "mlp", "widths": (256, 256)},
  }
  numbers = {"seed": 0, "num_seeds": 3, "num_updates": 4000, "batch_size": 128}
  chunks = {"updates_per_chunk": 250, "chunks_per_evaluation": 4}
  return ml_collections.ConfigDict(
    {
      **numbers,
      **chunks,
      "data": data,
      "data_options": options,
      "model": model,
      "objective": {"anneal": "none"},
      "optimizer": {"learning_rate": 1e-3},
      "metric": "nll",
    }
  )


def tiny(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Shrinks a comparison to seconds: it learns nothing."""
  config.update(num_seeds=1, num_updates=4, batch_size=8, evaluated=64)
  config.update(updates_per_chunk=2, chunks_per_evaluation=1)
  config.data_options.update(train=64, valid=8, test=64, length=16)
  config.arms = arms("vae", "dts_light")
  return config
