"""Everything that needs torch: models, loaders, the training loop, checkpoints."""
