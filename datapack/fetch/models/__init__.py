"""What a version of `kind: model` gets beside its sources: what its weights are, and that loading them runs no code."""
