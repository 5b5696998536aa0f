"""Small utilities that know nothing of the rest of the project: errors, files, downloads."""

from dnnlib.errors import UserError
from dnnlib.files import atomic_write, copy_whole

__all__ = ["UserError", "atomic_write", "copy_whole"]
