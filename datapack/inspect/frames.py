"""The sizes of the images of COCO files: what the list says, or else what the file has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datapack.inspect.model import Survey


def frame_sizes(survey: Survey) -> dict[str, NDArray[np.int64]]:
    """Return, by the path of each COCO file, width and height of its images, (N, 2); 0 where nothing says them."""
    here = {image.path: (image.width, image.height) for image in survey.images}
    sizes = {}
    for coco in survey.cocos:
        found = coco.sizes.copy()
        for place in np.flatnonzero(coco.sizes[:, 0] == 0).tolist():
            found[place] = here.get(coco.images[place], (0, 0))
        sizes[coco.path] = found
    return sizes
