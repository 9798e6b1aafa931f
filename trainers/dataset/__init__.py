"""The data of a run, checked, listed, split and decoded before a framework is imported."""
