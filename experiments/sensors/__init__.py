"""Sensors of motion and hearts: domain adaptation, anomalies, known factors.

    import experiments.sensors
    splits = jaxseq.data.load("watch", by="side")

Importing the folder makes its data sets known. Motion of several subjects:
"hhar", "uci_har", "uwave" and "wisdm" read published files, "watch" the file
inside seglearn, and "activities" is generated. ECGs: "ecg_diff_count" and
"mitdb" have labeled anomalies, "ecg_dynamics" is generated from six factors.
The configs are `activities.py`, `watch_adaptation.py`, `downstream.py` and
`ecg.py` in `configs/dts`.
"""

from jaxseq.data import registry

registry.register("activities", "experiments.sensors.activities:load")
registry.register(
  "ecg_diff_count", "experiments.sensors.anomalies:ecg_diff_count"
)
registry.register("ecg_dynamics", "experiments.sensors.ecg_dynamics:load")
registry.register("hhar", "experiments.sensors.hhar:load")
registry.register("mitdb", "experiments.sensors.anomalies:mitdb")
registry.register("uci_har", "experiments.sensors.uci_har:load")
registry.register("uwave", "experiments.sensors.uwave:load")
registry.register("watch", "experiments.sensors.watch:load")
registry.register("wisdm", "experiments.sensors.wisdm:load")
