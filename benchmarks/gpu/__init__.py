"""``make gpu``: what only a machine with a GPU can show of the trainers. See `benchmarks.gpu.__main__`."""
