"""From a state to its picture: the functions of `generation`, called as generate.py calls them."""

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dnnlib import UserError
from generation.edits import MOST_DIRECTIONS, Edit, format_layers
from generation.interpolation import path_through
from generation.latents import label_vector, parse_class
from generation.mixing import default_layers, mix_layers
from generation.notes import Text, mixing_note, network_note, projected_note, seed_note
from generation.renderer import Renderer
from studio.networks import Network
from studio.state import State
from torch_utils.media.images import encode_image

MOST_PHOTOS = 32
_LOSSLESS_SIDE = 512  # pixels; on the way to the page larger pictures are JPEG, which is ten times faster than PNG


class Photos:
    """Projected points by name, the newest `MOST_PHOTOS` of them."""

    def __init__(self) -> None:
        self._ws: OrderedDict[str, torch.Tensor] = OrderedDict()

    def add(self, ws: torch.Tensor) -> str:
        """Keep ws [1, num_ws, w_dim] and return its name, which the same numbers always have."""
        name = hashlib.sha256(ws.numpy().tobytes()).hexdigest()[:16]
        self._ws[name] = ws
        self._ws.move_to_end(name)
        while len(self._ws) > MOST_PHOTOS:
            self._ws.popitem(last=False)
        return name

    def get(self, name: str) -> torch.Tensor | None:
        """The point [1, num_ws, w_dim] of that name; None where there is none."""
        return self._ws.get(name)


@dataclass(frozen=True)
class Motion:
    """How key frames are played: `frames` from one to the next."""

    frames: int = 30
    loop: bool = True


class Artist:
    """Draws states.

    Args:
        device: of the networks.
        photos: the projected points that states can name.
    """

    def __init__(self, device: torch.device, photos: Photos) -> None:
        self._device, self._photos = device, photos
        self._path = functools.lru_cache(maxsize=4)(self._new_path)
        self._ws = functools.lru_cache(maxsize=64)(self._new_ws)

    def fit(self, state: State, network: Network) -> tuple[State, list[str]]:
        """The state as this network can draw it, and a line for each part that it cannot."""
        G, notes = network.G, []
        where = f"network {network.key}"
        changes: dict = {"mix_layers": (), "of": ""}
        if state.of and state.left in (network.key, network.key[0]) and state.of != network.hash:
            notes.append(f"this was made with another network than {where} ({state.of}): the picture is another")
        if G.c_dim == 0 and (state.label or state.vector):
            changes |= {"label": "", "vector": ()}
            notes.append(f"{where} has no classes: the class is left out")
        elif G.c_dim:
            if not state.vector:
                changes["label"] = state.label or "0"
            try:
                label_of(replace(state, **changes), network)
            except UserError as error:
                changes |= {"label": "0", "vector": ()}
                notes.append(f"{where}: {error}".replace("`class_text`", "class").replace("`label`", "the label"))
        if state.cutoff is not None and state.cutoff > G.num_ws:
            changes["cutoff"] = None
            notes.append(f"{where} has {G.num_ws} layers: the truncation's cutoff {state.cutoff} is left out")
        if state.photo:
            ws = self._photos.get(state.photo)
            if ws is None or ws.shape[1:] != (G.num_ws, G.w_dim):
                changes["photo"] = ""
                lost = "is not here: open its projected_w.npz again" if ws is None else f"is of no use to {where}"
                notes.append(f"the photograph {state.photo} {lost}")
            elif state.mix is not None:
                changes["mix"] = None
                notes.append("style mixing is between two seeds: it is left out for a photograph")
        if state.mix is not None and changes.get("mix", 0) is not None:
            layers = state.mix_layers or tuple(default_layers(G.num_ws))
            changes["mix_layers"] = tuple(layer for layer in layers if layer < G.num_ws)
            if changes["mix_layers"] != layers:
                notes.append(f"{where} has {G.num_ws} layers: mixing {format_layers(layers)} is cut off there")
            if not changes["mix_layers"]:
                changes["mix"] = None
        edits = [self._fit_edit(edit, network) for edit in state.edits]
        changes["edits"] = tuple(edit for edit in edits if edit is not None)
        if changes["edits"] != state.edits:
            notes.append(f"{where} has not all directions and layers of the edits: the others are left out")
        return replace(state, **changes), notes

    @staticmethod
    def _fit_edit(edit: Edit, network: Network) -> Edit | None:
        G = network.G
        layers = tuple(layer for layer in edit.layers if layer < G.num_ws)
        has = edit.index < min(MOST_DIRECTIONS, G.w_dim) and (layers or not edit.layers)
        return replace(edit, layers=layers) if has else None

    def draw(self, state: State, network: Network) -> tuple[torch.Tensor, Text]:
        """The picture, uint8 [C, H, W] on the CPU, and what its PNG says; the state fits the network."""
        renderer = self._renderer(state, network)
        edit = functools.partial(network.editor.add, edits=state.edits) if state.edits else None
        label = state.label or None
        note = network_note(renderer, Path(network.location).name, network.hash, label, state.edits)
        [picture] = replace(renderer, edit=edit).pictures(self._ws(replace(state, edits=()), network), [state.seed])
        return picture, {**note, **_own_note(state)}

    def png(self, state: State, network: Network) -> bytes:
        """The file that generate.py writes."""
        picture, note = self.draw(state, network)
        return encode_image(picture, ".png", note)

    def frame(self, state: State, keys: Sequence[State], motion: Motion, index: int, network: Network) -> torch.Tensor:
        """Frame `index` of the way through the key frames, uint8 [C, H, W], with the noise of `state`.

        The index goes around.
        """
        path = self.path(keys, motion, network)
        [picture] = self._renderer(state, network).pictures(path[index % len(path)][None], [0])
        return picture

    def path(self, keys: Sequence[State], motion: Motion, network: Network) -> torch.Tensor:
        """ws [F, num_ws, w_dim] on the way through the key frames, each as it fits the network.

        Raises:
            UserError: fewer than two.
        """
        return self._path(tuple(self.fit(key, network)[0] for key in keys), motion, network)

    def point(self, state: State, network: Network) -> torch.Tensor:
        """ws [1, num_ws, w_dim] of a state that fits the network, with its edits."""
        return network.editor.add(self._ws(replace(state, edits=()), network), state.edits)

    def _new_path(self, keys: tuple[State, ...], motion: Motion, network: Network) -> torch.Tensor:
        ws = torch.cat([self.point(key, network) for key in keys]) if keys else torch.empty(0)
        return path_through(ws, motion.frames, loop=motion.loop, curve="cubic", on_sphere=False)

    def _new_ws(self, state: State, network: Network) -> torch.Tensor:
        if state.photo:
            return self._photos.get(state.photo)
        renderer = self._renderer(state, network)
        if state.mix is None:
            return renderer.ws_from_seeds([state.seed])
        # Both at once, as generate.py maps them: the last bit can depend on how many are computed together.
        seeds = list(dict.fromkeys([state.seed, state.mix]))
        ws = dict(zip(seeds, renderer.ws_from_seeds(seeds), strict=True))
        return mix_layers(ws[state.seed], ws[state.mix], state.mix_layers)[None]

    def _renderer(self, state: State, network: Network) -> Renderer:
        label = label_of(state, network)
        noise_seed = state.noise_seed if state.noise == "random" else None
        return Renderer(network.G, self._device, label, state.psi, state.cutoff, state.noise, 1, noise_seed)


def label_of(state: State, network: Network) -> torch.Tensor | None:
    """The label c [1, c_dim] of a state; None for an unconditional network.

    Raises:
        UserError: the network has no such class, or labels of another length.
    """
    if state.vector:
        return label_vector(state.vector, network.G.c_dim)
    return parse_class(state.label or None, network.G.c_dim, network.class_names)


def _own_note(state: State) -> Text:
    if state.photo:
        return projected_note(0)
    if state.mix is None:
        return seed_note(state.seed)
    return mixing_note(state.mix_layers, state.seed, state.mix)


def encode_quickly(picture: torch.Tensor) -> bytes:
    """The bytes that go to the page: PNG, or JPEG of large pictures without alpha."""
    lossless = max(picture.shape[1:]) <= _LOSSLESS_SIDE or picture.shape[0] in (2, 4)
    return encode_image(picture, ".png" if lossless else ".jpg")
