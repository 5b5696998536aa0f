"""100 real face photographs that need no download: the faces of scikit-image's `lfw_subset`.

They are 25 x 25 grey crops of Labeled Faces in the Wild (Huang, Ramesh, Berg, Learned-Miller, 2007), in a file
that scikit-image installs along with its code.
"""

import numpy as np
from PIL import Image

from dnnlib import UserError

BUILTIN_FACES = "builtin:faces"
"""What stands for the built-in faces wherever a data path is expected."""

_NUM_FACES = 100  # the second half of lfw_subset holds patches that are not faces


def builtin_faces(resolution: int = 32) -> np.ndarray:
    """Return the built-in faces as uint8 [100, 1, resolution, resolution], enlarged from 25 x 25 with a Lanczos filter.

    Raises:
        UserError: scikit-image is not installed.
    """
    try:
        from skimage.data import lfw_subset
    except ImportError as error:
        raise UserError(
            "the built-in faces need scikit-image; run pip install 'scikit-image>=0.22', "
            "or give your own images with `path`"
        ) from error
    faces = np.asarray(lfw_subset()[:_NUM_FACES], dtype=np.float32)
    size = (resolution, resolution)
    # Resized as floats and rounded once: no second quantisation, and the filter's overshoot is clipped at the end.
    enlarged = np.stack([np.asarray(Image.fromarray(face).resize(size, Image.Resampling.LANCZOS)) for face in faces])
    return np.clip(np.rint(enlarged * 255), 0, 255).astype(np.uint8)[:, np.newaxis]
