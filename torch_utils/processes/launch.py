"""`--gpus=N`: a command again, as N processes on this machine, by torchrun's own engine."""

import logging
import os
import signal
import sys
from collections.abc import Sequence

from dnnlib.cli import CONTINUE_STATUS, MISTAKE_STATUS
from torch_utils.machine.environment import COMMAND


def launch(door: str, processes: int, arguments: Sequence[str]) -> int:
    """Run `rooted-stylegan DOOR` with `arguments` in `processes` processes and wait for them.

    Returns:
        the exit status: 0, that of a mistake (2) or of a run that can be continued (75) if a worker ended with it,
        else 1, after one line on stderr that says which worker failed and how.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // processes, 1)))
    # A worker's own line is the answer to a mistake; the engine's records of how it ended the others would bury it.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    # torchrun passes SIGTERM and SIGINT on to the workers, but would die of SIGUSR1 and leave them behind.
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    try:
        # After "--" no argument of the door is taken for the engine's: `--run` could be the beginning of two.
        torchrun(["--standalone", f"--nproc-per-node={processes}", "--", str(COMMAND), door, *arguments])
    except SignalException:
        return CONTINUE_STATUS
    except ChildFailedError as error:
        # Those that were ended because of another's failure have a signal's status, and may be listed first.
        statuses = {failure.exitcode for failure in error.failures.values()}
        for status in (MISTAKE_STATUS, CONTINUE_STATUS):
            if status in statuses:
                return status
        rank, failure = error.get_first_failure()
        how = f"was ended by {failure.signal_name()}" if failure.exitcode < 0 else f"failed with {failure.exitcode}"
        print(f"error: the process of rank {rank} (pid {failure.pid}) {how}", file=sys.stderr)
        return 1
    return 0
