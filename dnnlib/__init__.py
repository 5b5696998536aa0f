"""Small utilities that know nothing of the rest of the project: errors, files, downloads."""

from dnnlib.errors import UserError, first_line, last_line, renamed
from dnnlib.files import atomic_write, copy_whole, make_folder
from dnnlib.json_files import json_text, read_json, write_json

__all__ = [
    "UserError", "atomic_write", "copy_whole", "first_line", "json_text", "last_line", "make_folder", "read_json",
    "renamed", "write_json",
]  # fmt: skip
