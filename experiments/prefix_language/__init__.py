"""Language models that read a prefix at once, as the mixer `jrt`."""
