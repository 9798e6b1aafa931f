"""Stand-in bases: made of busybox for tests and the demo, never for a Safe Haven."""

STAND_IN = "datapack.stand-in"  # a label of such a base, and of images based on it
STAND_IN_MEANS = "a stand-in base, for tests and the demo only"
