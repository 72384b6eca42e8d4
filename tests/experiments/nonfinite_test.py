"""R2D2, SPR and DTS end where numbers are not finite, as all runs do."""

import pytest

from jaxseq.training import finite
from tests.experiments import programs


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
  ("experiment", "config", "rate", "arm"),
  [
    ("icrl", "r2d2", "agent.learning_rate", "gru"),
    (
      "spr",
      "minatar_quick",
      "settings.learning.optimizer.learning_rate",
      "spr",
    ),
    ("dts", "quick", "optimizer.learning_rate", "vae"),
  ],
)
def test_a_step_that_is_far_too_long_ends_the_run(
  monkeypatch, tmp_path, experiment, config, rate, arm
):
  with pytest.raises(finite.NotFinite, match=f"{arm}, seed 0: ") as caught:
    programs.call(
      monkeypatch,
      experiment,
      f"configs/{experiment}/{config}.py:tiny",
      tmp_path / "run",
      f"--config.{rate}=1e30",
      f"--arms={arm}",
      "--config.num_seeds=1",
      "--config.tensorboard=False",
    )
  assert caught.value.exit_code == 3
