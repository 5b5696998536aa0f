"""The tables of docs/training.md, made from the options: `python -m training.options.document` writes them."""

from pathlib import Path

from dnnlib import atomic_write
from dnnlib.options import markdown, shown
from training.options.presets import CFGS, PRESETS
from training.options.table import TrainingOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def tables() -> dict[str, str]:
    """Markdown by the name that its markers have in the page."""
    return {"options": markdown(TrainingOptions), "presets": _presets(), "configurations": _configurations()}


def with_tables(page: str) -> str:
    """The page with fresh tables between `<!-- name -->` and `<!-- end of name -->`."""
    for name, text in tables().items():
        start, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"the page has no place for '{name}'")
        page = f"{before}{start}{text}{end}{after}"
    return page


def _presets() -> str:
    rows = ["| preset | what for | options |", "|---|---|---|"]
    for name, preset in PRESETS.items():
        options = " ".join(f"`--{key.replace('_', '-')}={shown(value)}`" for key, value in preset.options.items())
        rows.append(f"| `{name}` | {preset.purpose} | {options} |")
    return "\n".join(rows)


def _configurations() -> str:
    shown = {"kimg": "kimg", "batch": "batch", "mbstd": "mbstd-group", "lr": "glr, dlr", "gamma": "gamma",
             "ema_kimg": "ema-kimg", "mapping_layers": "map-depth", "pl_weight": "pl-weight",
             "style_mixing_prob": "style-mixing"}  # fmt: skip
    rows = [f"| cfg | cbase | {' | '.join(shown.values())} |", "|---" * (len(shown) + 2) + "|"]
    for name, base in CFGS.items():
        values = [f"{getattr(base, field):g}" for field in shown]
        rows.append(f"| `{name}` | {round(32768 * base.fmaps)} | {' | '.join(values)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    with atomic_write(PAGE, "w") as stream:
        stream.write(with_tables(PAGE.read_text(encoding="utf-8")))
