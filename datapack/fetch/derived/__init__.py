"""Derived versions: the choice among the images of another version, and the links to its files."""
