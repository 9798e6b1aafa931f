"""The import container: its base, its layers, its configuration, and its program, ``import.sh``."""
