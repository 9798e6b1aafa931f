"""Weights of models: what is in a file of weights, found without a framework and without running anything."""
