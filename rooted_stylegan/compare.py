"""Compare losses on equal terms: `python compare.py --preset=demo`, or any data set, losses and seeds."""

if __name__ == "__main__":
    raise SystemExit("error: the command is `rooted-stylegan compare`, or `python compare.py` at the top of a checkout")

import importlib.util
import sys

import click

from comparison.options import ComparisonOptions
from dnnlib import UserError
from dnnlib.cli import CONTINUE_STATUS, Command, door, in_flags, say
from dnnlib.options import check_together, takes_options


@click.command(cls=Command)
@click.argument("train_flags", nargs=-1, type=click.UNPROCESSED)
@takes_options(ComparisonOptions, filled=False)
@door
def main(options: ComparisonOptions) -> None:
    """Train the same networks with several losses and seeds, and say what difference the loss made.

    With the same seed every loss gets the same initial weights, images in the same order, and latents. What
    follows `--` goes to every train.py. Interrupted runs continue, finished ones are skipped; more losses and
    seeds can be added later. Results: report.html, results.json, results.csv, figures/ in --outdir.

    \b
    Examples:
      python compare.py --preset=demo
      python compare.py --data=ffhq64.zip --subset=200 --seeds=6 --outdir=out --jobs=4 -- --batch=64
      python compare.py --data=ffhq64.zip --losses=ce,rlo:k=2..32 --seeds=6 --outdir=out --print-commands
      python compare.py --relay=docs/results/relay/plan.json --data=faces64.zip --minutes=8 --calls=4 --out=out
    """  # noqa: D301 - click wants the character \\b
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("compare.py draws with matplotlib: pip install 'rooted-stylegan[compare]'")
    from comparison.command import compare
    from comparison.relay import relay, relay_report

    def tell(text: str) -> None:
        say(in_flags(text), err=True)

    check_together(options, options)
    work = compare if not options.relay else relay if not options.relay_report else relay_report
    try:
        for line in work(options, tell):
            say(line)
    except KeyboardInterrupt:
        tell("interrupted; the runs are saved, and the same command goes on from here")
        sys.exit(CONTINUE_STATUS)
