"""The integer options of `upfirdn2d`, and what follows from them."""

from typing import NamedTuple


class Geometry(NamedTuple):
    """All integer options of the operator: per axis (x, y); paddings are left, right, top, bottom."""

    up: tuple[int, int]
    down: tuple[int, int]
    padding: tuple[int, int, int, int]

    def output_size(self, height: int, width: int, taps: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the result for a filter of `taps` = (rows, columns)."""
        (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1) = self
        rows = (height * up_y + y0 + y1 - taps[0]) // down_y + 1
        columns = (width * up_x + x0 + x1 - taps[1]) // down_x + 1
        return rows, columns

    def transposed(self, height: int, width: int, taps: tuple[int, int]) -> "Geometry":
        """The options of the gradient, where `height` and `width` are those of the forward's input."""
        (up_x, up_y), (down_x, down_y), (x0, _, y0, _) = self
        rows, columns = self.output_size(height, width, taps)
        padding = (
            taps[1] - 1 - x0,
            (width - 1) * up_x + 1 - columns * down_x + x0,
            taps[0] - 1 - y0,
            (height - 1) * up_y + 1 - rows * down_y + y0,
        )
        return Geometry(self.down, self.up, padding)

    def axes(self) -> tuple["Geometry", "Geometry"]:
        """The same sampling as a horizontal and a vertical step, for filters of one dimension."""
        (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1) = self
        return Geometry((up_x, 1), (down_x, 1), (x0, x1, 0, 0)), Geometry((1, up_y), (1, down_y), (0, 0, y0, y1))
