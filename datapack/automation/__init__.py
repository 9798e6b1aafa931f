"""Continuous integration: the pipelines of a dataset repository, and what they may show to whom."""
