"""The catalog, ``datasets.yml``, and the lock, ``datasets.lock``: what they contain, and what is wrong in them."""
