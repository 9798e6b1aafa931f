"""Documents about an image, for reviewers and other tools."""
