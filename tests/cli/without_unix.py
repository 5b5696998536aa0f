"""Every door in one process that lacks what Windows lacks; the argument is an empty folder to work in."""

import os
import pathlib
import signal
import sys

# Third-party packages pick their own way on Windows; here they have to find what they know.
import click
import matplotlib.pyplot  # noqa: F401
import numpy as np
import psutil  # noqa: F401
import scipy  # noqa: F401
import torch.distributed
import torch.utils.tensorboard  # noqa: F401
import tqdm  # noqa: F401
from PIL import Image

for module in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[module] = None
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGALRM"):
    delattr(signal, name)
for name in ("fork", "sched_getaffinity", "getuid", "geteuid", "killpg", "getpgid", "setsid", "mkfifo", "O_NONBLOCK"):
    delattr(os, name)

from rooted_stylegan.command import DOORS, main  # noqa: E402


def call(*arguments):
    """Run `rooted-stylegan` with these; another end than status 0 ends the process."""
    try:
        main(list(arguments), prog_name="rooted-stylegan", standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise
    except click.exceptions.Exit as end:
        if end.exit_code:
            sys.exit(end.exit_code)


os.chdir(sys.argv[1])
pathlib.Path("pictures").mkdir()
for seed in range(8):
    pixels = np.random.RandomState(seed).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(f"pictures/{seed}.png")
for door in main.list_commands(None):
    assert door in DOORS
    call(door, "--help")
tiny = ("--batch=4", "--cbase=256", "--cmax=16", "--map-depth=2", "--grid=2x2", "--workers=1")
call("dataset", "--source=pictures", "--dest=set.zip")
call("train", "--data=set.zip", "--device=cpu", *tiny, "--kimg=0.008", "--metrics=swd4", "--run-dir=run")
call("train", "--continue=run", "--kimg=0.012")
network = str(next(pathlib.Path("run").glob("network-snapshot-*.safetensors")))
call("generate", f"--network={network}", "--seeds=0", "--device=cpu", "--outdir=out")
call("mix", f"--network={network}", "--rows=0", "--cols=1", "--device=cpu", "--outdir=mixed")
call("project", f"--network={network}", "--target=pictures/0.png", "--distance=pixel", "--num-steps=2",
     "--device=cpu", "--outdir=projected")  # fmt: skip
call("metrics", "--run=run", "--metrics=swd4", "--device=cpu", "--verbose=0")
call("convert", network, "network.pt")
call("doctor")
call("compare", "--data=set.zip", "--losses=ce", "--seeds=2", "--kimg=0.01", "--metrics=swd4", "--outdir=comparison",
     "--print-commands")  # fmt: skip
