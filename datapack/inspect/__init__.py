"""Look into a bag: what it contains, and what may be wrong with that. Nothing here changes a file."""
