"""What a page sends, read strictly: a question for a picture, an order for a film."""

from dataclasses import dataclass, field
from typing import Any

from dnnlib import UserError
from dnnlib.typed import fits
from studio.render import Motion
from studio.state import MOST_KEYS, State, read_json

MOST_NUMBER = 2**32 - 1
LONGEST_MESSAGE = 1 << 17
MOST_FRAMES = 600  # from one key frame to the next
SUFFIXES = (".mp4", ".gif", ".webp")


@dataclass(frozen=True)
class Ask:
    """A question for the picture of a state, or for a frame on the way through key frames.

    Attributes:
        number: of the question, which the answer repeats.
        state: what is to be drawn.
        from_query: whether it came as an address; the answer then tells the state.
        keys, motion, frame: the key frames, how they are played, and which frame of it; None for the state itself.
    """

    number: int
    state: State
    from_query: bool = False
    keys: tuple[State, ...] = ()
    motion: Motion = field(default_factory=Motion)
    frame: int | None = None


@dataclass(frozen=True)
class Film:
    """An order for a film."""

    state: State
    keys: tuple[State, ...]
    motion: Motion
    suffix: str
    fps: float


def read_ask(text: str | None) -> Ask:
    """The question in a message; None stands for a message of bytes.

    Raises:
        UserError: one line on what is wrong with it.
    """
    values = _object(text, {"n", "state", "query", "keys", "motion", "frame"})
    number, frame = values.get("n"), values.get("frame")
    if not fits(number, int) or not 0 <= number <= MOST_NUMBER:
        raise UserError("a question needs a number `n`")
    if "query" in values:
        if not fits(values["query"], str) or not fits(values.get("keys", []), list[str]):
            raise UserError("`query` and `keys` should be addresses")
        keys = tuple(map(State.from_query, _bounded(values.get("keys", []))))
        return Ask(number, State.from_query(values["query"]), True, keys)
    if frame is not None and not (fits(frame, int) and 0 <= frame <= MOST_NUMBER):
        raise UserError("`frame` should be the number of a frame")
    return Ask(number, State.from_json(values.get("state")), False, *_keys_and_motion(values), frame)


def read_film(data: bytes) -> Film:
    """The order in an upload.

    Raises:
        UserError: one line on what is wrong with it.
    """
    values = _object(data.decode("utf-8", "replace"), {"state", "keys", "motion", "suffix", "fps"})
    suffix, fps = values.get("suffix"), values.get("fps", 30)
    if suffix not in SUFFIXES:
        raise UserError(f"`suffix` must be one of {', '.join(SUFFIXES)}")
    if not fits(fps, float) or not 1 <= fps <= 120:
        raise UserError("`fps` must be from 1 to 120")
    keys, motion = _keys_and_motion(values)
    if len(keys) < 2:
        raise UserError("a film needs at least two key frames")
    return Film(State.from_json(values.get("state")), keys, motion, suffix, float(fps))


def _object(text: str | None, known: set[str]) -> dict[str, Any]:
    if text is None or len(text) > LONGEST_MESSAGE:
        raise UserError("a message is text of JSON" if text is None else f"a message of {len(text)} characters")
    values = read_json(text)
    if not isinstance(values, dict):
        raise UserError("a message is an object of JSON")
    if unknown := sorted(set(values) - known):
        raise UserError(f"`{unknown[0][:40]}` is no part of a message")
    return values


def _keys_and_motion(values: dict[str, Any]) -> tuple[tuple[State, ...], Motion]:
    keys, motion = values.get("keys", []), values.get("motion", {})
    if not fits(keys, list[dict]) or not isinstance(motion, dict) or set(motion) - {"frames", "loop"}:
        raise UserError("`keys` should be states, and `motion` an object with frames and loop")
    frames, loop = motion.get("frames", Motion.frames), motion.get("loop", Motion.loop)
    if not fits(frames, int) or not 1 <= frames <= MOST_FRAMES or not isinstance(loop, bool):
        raise UserError(f"`motion` has frames from 1 to {MOST_FRAMES}, and loop true or false")
    return tuple(map(State.from_json, _bounded(keys))), Motion(frames, loop)


def _bounded(keys: list[Any]) -> list[Any]:
    if len(keys) > MOST_KEYS:
        raise UserError(f"{len(keys)} key frames are too many; {MOST_KEYS} at most")
    return keys
