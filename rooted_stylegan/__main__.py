"""`python -m rooted_stylegan COMMAND`; and by its path, the script that further processes of a command run."""

import sys
from pathlib import Path

if not __package__:  # by its path: the project, not this folder, is what modules are found in
    root = str(Path(__file__).resolve().parents[1])
    sys.path[:1] = [] if root in sys.path else [root]

from rooted_stylegan.command import main

if __name__ == "__main__":
    main(prog_name="rooted-stylegan")
