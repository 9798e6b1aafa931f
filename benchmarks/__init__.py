"""Benchmarks: datapack and what people use today, side by side on this machine, in one run."""
