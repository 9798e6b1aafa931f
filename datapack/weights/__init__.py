"""Weights of models: what is in a weights file, found without a framework and without running anything."""
