"""The workspace: the folder with ``datasets.yml``, and a cache of what is known about the files in it."""
