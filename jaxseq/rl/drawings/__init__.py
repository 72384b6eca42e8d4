"""Drawings of the environments, for `jaxseq.rl.rendering`."""
