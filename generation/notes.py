"""What a PNG says of itself: text entries by which the same picture can be made again."""

from collections.abc import Sequence

from generation.edits import Edit
from generation.renderer import Renderer

Text = dict[str, str]


def network_note(
    renderer: Renderer, network: str, network_hash: str, class_text: str | None, edits: Sequence[Edit] = ()
) -> Text:
    """The network, by its file's name and hash, and how it draws; the label as numbers if there is no `class_text`."""
    text = {"network": network, "network_hash": network_hash, "truncation_psi": f"{renderer.psi:g}"}
    if renderer.cutoff is not None:
        text["truncation_cutoff"] = str(renderer.cutoff)
    if renderer.center is not None:
        text["truncation_to"] = "class"
    if class_text is not None and renderer.label is not None:
        text["class"] = class_text
    elif renderer.label is not None:
        text["label"] = ",".join(f"{number:g}" for number in renderer.label[0].tolist())
    text["noise_mode"] = renderer.noise_mode
    if renderer.noise_seed is not None:
        text["noise_seed"] = str(renderer.noise_seed)
    if edits:
        text["edits"] = " ".join(map(str, edits))
    return text


def seed_note(seed: int) -> Text:
    """A picture of one seed."""
    return {"seed": str(seed)}


def projected_note(index: int) -> Text:
    """A picture of a projected latent, by its place among those given."""
    return {"projected_w": str(index)}


def mixing_note(layers: Sequence[int], row: int, column: int) -> Text:
    """A picture of seed `row` with `layers` of seed `column`."""
    return {"mixed_layers": ",".join(map(str, layers)), "row_seed": str(row), "column_seed": str(column)}
