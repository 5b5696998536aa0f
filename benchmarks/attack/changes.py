"""Changes by chance: of bytes, of JSON, of text; and values that nobody expects."""

import random
from typing import Any

import torch

JSON_WORDS = (
    "null", "[]", "{}", "-1", "1e999", "NaN", "9" * 5000, "[" * 3000, '"\\u001b[2J\\n"', '"\\ud800"', "1000000", "true",
    "1e300", "0.5", '"x"', "[null]", '{"":0}', '"' + "y" * 5000 + '"',
)  # fmt: skip
MARK = "CANARY"
"""In hostile text: a terminal, a browser or a log must show it as part of the text around it."""
TEXTS = (
    f"\x1b[2J\x1b]0;{MARK}\x07", f"\x9b31m{MARK}\x85", f"a\n{MARK}: b", f"a\r\n{MARK}\u2028{MARK}",
    f"<{MARK} onload=x>", f"</script><{MARK}><!--", f'"><{MARK} x="', f"'-->\n<{MARK}>",
    f"[{MARK}](javascript:{MARK}) **a** `b` | # c",
    f"\u202e{MARK}\u2066", f"$title ${{js}} {{0}} %s %(a)s {MARK}", f"x{MARK}" * 900, f"`{MARK}` \\x1b & &lt;",
)  # fmt: skip
ODD = (
    -1, 0, 1, 3, 7, 2**31, 2**70, -0.5, 0.5, 1e308, float("nan"), float("inf"), "", "x", None, True, False, b"x", [],
    {}, (), (1,), [None], {"a": 1}, *TEXTS,
)  # fmt: skip


def changed(data: bytes, choose: random.Random) -> bytes:
    """The bytes with a few changes by chance."""
    raw = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 5, 20))):
        place, size = choose.randrange(len(raw) or 1), choose.choice((1, 1, 2, 4, 8, 100))
        match choose.randrange(7):
            case 0 | 1 if raw:
                raw[place] ^= 1 << choose.randrange(8)
            case 2:
                raw[place : place + size] = bytes([choose.choice((0, 255, 127, 128))]) * size
            case 3:
                raw[place : place + size] = choose.randbytes(size)
            case 4:
                raw[place:place] = raw[place // 2 : place // 2 + size]
            case 5:
                del raw[place : place + size]
            case 6 if choose.random() < 0.3:
                del raw[place:]
    return bytes(raw)


def changed_head(data: bytes, choose: random.Random, *sizes: int) -> bytes:
    """Changed in so many first bytes, or anywhere."""
    head = choose.choice((*sizes, len(data)))
    return changed(data[:head], choose) + data[head:]


def changed_json(text: str, choose: random.Random) -> str:
    """The text with a value replaced by an odd one, or with other changes."""
    if choose.random() < 0.3:
        return changed(text.encode(), choose).decode(errors="surrogateescape")
    places = [i for i, c in enumerate(text) if c in ":,["]
    place = choose.choice(places) + 1 if places else 0
    end = min((i for i in (text.find(c, place) for c in ",]}") if i >= 0), default=len(text))
    return text[:place] + choose.choice(JSON_WORDS) + text[end:]


def changed_values(value: Any, choose: random.Random, odd: tuple[Any, ...] = ODD) -> Any:
    """A copy of nested dicts and lists in which one value, or the name of one, is odd."""
    if not isinstance(value, dict | list) or not value or choose.random() < 0.15:
        return choose.choice(odd)
    if isinstance(value, list):
        place = choose.randrange(len(value))
        return [changed_values(item, choose, odd) if i == place else item for i, item in enumerate(value)]
    name = choose.choice(list(value))
    if choose.random() < 0.1:
        return {(choose.choice(TEXTS) if key == name else key): item for key, item in value.items()}
    return {key: changed_values(item, choose, odd) if key == name else item for key, item in value.items()}


def changed_tensor(tensor: torch.Tensor, choose: random.Random) -> torch.Tensor:
    """A tensor of other numbers, or of another shape, type or layout."""
    dtypes = (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int8, torch.bool, torch.complex64)
    changes = (
        lambda: tensor.to(choose.choice(dtypes)),
        lambda: tensor.flatten(),
        lambda: tensor[None],
        lambda: tensor.new_zeros(0),
        lambda: tensor.new_full(tensor.shape, choose.choice((float("nan"), float("inf"), -1e38, 1e38))),
        lambda: tensor.flatten()[:1].expand(max(tensor.numel(), 1)).reshape(tensor.shape),
        lambda: tensor.new_zeros(1).expand(1 << choose.choice((4, 20, 34))),
        lambda: tensor.transpose(0, -1) if tensor.ndim else tensor,
        lambda: torch.cat([tensor, tensor]) if tensor.ndim else tensor,
        lambda: tensor.new_zeros([1] * choose.choice((9, 40))),
    )
    return choose.choice(changes)()
