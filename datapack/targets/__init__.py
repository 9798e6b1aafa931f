"""Targets: where an image goes. Each form is one module with one class; the names are those of skopeo and podman.

A target takes the parts of an image one by one, says each part's digest, and at the end takes the image that they make.
Until then nothing can be seen under the target's name.
"""

from datapack.targets.target import Part, Target, open_target

__all__ = ["Part", "Target", "open_target"]
