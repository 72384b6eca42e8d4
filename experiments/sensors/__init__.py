"""Motion of several subjects by worn sensors: sets for domain adaptation.

    import experiments.sensors
    splits = jaxseq.data.load("watch", by="side")

Importing the folder makes its data sets known: "hhar", "uci_har", "uwave" and
"wisdm" read published files, "watch" the file inside seglearn, and "activities"
is generated. The configs are `configs/dts/activities.py` and
`watch_adaptation.py`.
"""

from jaxseq.data import registry

registry.register("activities", "experiments.sensors.activities:load")
registry.register("hhar", "experiments.sensors.hhar:load")
registry.register("uci_har", "experiments.sensors.uci_har:load")
registry.register("uwave", "experiments.sensors.uwave:load")
registry.register("watch", "experiments.sensors.watch:load")
registry.register("wisdm", "experiments.sensors.wisdm:load")
