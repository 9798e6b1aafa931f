"""The versions of a catalog: what is known about them, what a build of one will cost, and how to remove one."""
