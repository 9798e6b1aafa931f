"""The build: from a catalog entry to an image at its target. `build.build` is the whole tool."""
