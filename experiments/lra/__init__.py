"""The Long Range Arena: its files, and generators of ListOps and Pathfinder.

    import experiments.lra
    splits = jaxseq.data.load("listops", size="small")

Importing the folder makes its data sets known: "listops" and "pathfinder" are
generated, "lra_listops", "lra_pathfinder", "lra_retrieval" and "lra_text" read
the benchmark's files, "cifar" the images of its task Image. The configs are
`configs/classify/lra.py`, `listops.py` and `pathfinder.py`.
"""

from jaxseq.data import registry

registry.register("cifar", "experiments.lra.cifar:load")
registry.register("listops", "experiments.lra.listops:load")
registry.register("lra_listops", "experiments.lra.data:listops")
registry.register("lra_pathfinder", "experiments.lra.data:pathfinder")
registry.register("lra_retrieval", "experiments.lra.data:retrieval")
registry.register("lra_text", "experiments.lra.data:text")
registry.register("pathfinder", "experiments.lra.pathfinder:load")
