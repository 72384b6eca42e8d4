"""Programs that train the models of jaxseq: one module per experiment."""
