"""What all frameworks share of a training: the loop, the order of the images, the files. No framework is imported."""
