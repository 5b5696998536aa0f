"""The server: who is let in, what it answers, and that nothing that is sent to it harms it."""

import hashlib
import io
import json
import logging
import random
import struct

import numpy as np
import pytest
import requests
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from studio.guard import is_own_host
from studio.render import MOST_PHOTOS
from studio.server import LEFT, MOST_UPLOAD, RIGHT, TARGET
from studio.state import State


def answer(socket, number):
    """The words and the pictures with a number, by what they show."""
    words, pictures = None, {}
    while words is None or not pictures:
        message = socket.recv()
        if isinstance(message, str):
            found = json.loads(message)
            if found.get("n") == number:
                words = found
                if "error" in words:
                    return words, {}
        else:
            n, side = struct.unpack(">IB", message[:5])
            if n == number:
                pictures[side] = message[5:]
    return words, pictures


def ask(socket, number=1, **state):
    socket.send(json.dumps({"n": number, "state": state}))
    return answer(socket, number)


def words_of(file):
    """What a state says of the network in a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def opened(data):
    return Image.open(io.BytesIO(data))


# -------- Who is let in


def test_the_token_opens_and_a_cookie_keeps_open(running):
    fresh = requests.Session()
    refused = fresh.get(running.address)
    assert refused.status_code == 403
    assert "token" in refused.text
    first = fresh.get(f"{running.address}/?token={running.token}&seed=4", allow_redirects=False)
    assert (first.status_code, first.headers["location"]) == (303, "/?seed=4")
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in first.headers["set-cookie"].split(";")}
    page = fresh.get(running.address)
    assert page.ok
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert fresh.get(f"{running.address}/image.png?seed=4").ok


@pytest.mark.parametrize("token", ["", "wrong", "ä", "a-token2"])
def test_another_token_does_not(running, token):
    assert requests.get(running.address, params={"token": token}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "localhost.evil.example", "", "a b"])
def test_a_name_of_another_host_is_refused(running, host):
    assert running.session.get(running.address, headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1:1", "[::1]:5"])
def test_tunnels_to_this_machine_are_not(running, host):
    headers = {"Host": host, "Origin": f"http://{host}"}
    cookie = {one.name: one.value for one in running.session.cookies}
    assert requests.get(f"{running.address}/curves", headers=headers, cookies=cookie).ok


@pytest.mark.parametrize("host", ["[::1", "[", "1.2.3", "127.0.0.1.", "evil.example:80@", "127.0.0.1@evil.example"])
def test_hosts_that_are_none(host):
    assert not is_own_host(host)


@pytest.mark.parametrize("origin", ["http://[::1", "http://evil.example", "null", "http://127.0.0.1:1", ""])
def test_pages_of_other_sites_change_nothing(running, origin):
    headers = {"Origin": origin}
    assert running.session.post(f"{running.address}/stop/film", headers=headers).status_code == 403
    cookie = "; ".join(f"{one.name}={one.value}" for one in running.session.cookies)
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{running.port}/socket", origin=origin or None, additional_headers={"Cookie": cookie})


def test_a_socket_needs_the_cookie(running):
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{running.port}/socket", origin=running.address)


@pytest.mark.parametrize(
    "path", ["/page/../server.py", "/page/%2e%2e/server.py", "/page//etc/passwd", "/film/..%2f..%2fetc%2fpasswd",
             "/film/x.mp4", "/photo/0.npz", "/photo/..%2fa.npz", "/etc/passwd", "/page/"],
)  # fmt: skip
def test_no_other_file_is_given_out(running, path):
    request = requests.Request("GET", running.address).prepare()
    request.url = running.address + path
    request.headers["Cookie"] = "; ".join(f"{one.name}={one.value}" for one in running.session.cookies)
    assert running.session.send(request).status_code in (404, 422)


# -------- Pictures


def test_a_state_is_answered_by_its_picture(running, files):
    with running.socket() as socket:
        words, pictures = ask(socket, seed=3, psi=0.5)
        assert State.from_query(words["query"]) == State(of=words_of(files["plain"]), seed=3, psi=0.5)
        assert "seed 3, truncation 0.5" in words["alt"]
        file = running.session.get(f"{running.address}/image.png?{words['query']}")
        assert file.headers["content-type"] == "image/png"
        shown, saved = opened(pictures[LEFT]), opened(file.content)
        assert shown.tobytes() == saved.tobytes()
        assert saved.text["seed"] == "3"


@pytest.mark.parametrize(
    ("left", "mode", "size"), [("B", "L", (16, 16)), ("C", "RGBA", (16, 16)), ("D", "RGB", (12, 8))]
)
def test_other_kinds_of_networks(running, left, mode, size):
    with running.socket() as socket:
        words, pictures = ask(socket, left=left, edits=[{"kind": "sefa", "index": 0, "strength": 2, "layers": [0, 1]}])
        assert (opened(pictures[LEFT]).mode, opened(pictures[LEFT]).size) == (mode, size)
        assert words["weights"] == ([1, 0, 0] if left == "B" else [])


def test_an_address_is_answered_by_its_state(running):
    state = State(seed=2, mix=5, mix_layers=(0, 2))
    with running.socket() as socket:
        socket.send(json.dumps({"n": 7, "query": state.query(), "keys": ["seed=9"]}))
        words, _ = answer(socket, 7)
        assert State.from_json(words["state"]) == state
        assert State.from_json(words["keys"][0]) == State(seed=9)


def test_a_state_of_another_file_is_said(running, files):
    with running.socket() as socket:
        assert "notes" not in ask(socket, of=words_of(files["plain"]))[0]
        words, pictures = ask(socket, 2, of=words_of(files["other"]))
        assert pictures
        assert "another network" in words["notes"][0]
    assert running.session.get(f"{running.address}/image.png?of={words_of(files['other'])}").status_code == 422


def test_two_networks_side_by_side_say_what_they_do_not_share(running):
    with running.socket() as socket:
        words, pictures = ask(socket, right="D", cutoff=6)
        assert sorted(pictures) == [LEFT] or sorted(pictures) == [LEFT, RIGHT]
        assert any("z has 8 and 5 numbers" in note for note in words["notes"])
        assert any("16 x 16 and 12 x 8 pixels" in note for note in words["notes"])
        assert any("D has 4 layers" in note for note in words["notes"])


def test_a_state_of_another_network_is_drawn_as_far_as_it_goes(running):
    state = {"label": "cat", "cutoff": 50, "photo": "0123456789abcdef", "mix": 3, "mix_layers": [0, 40]}
    edits = [{"kind": "pca", "index": 3, "strength": 1.0, "layers": [50]}]
    with running.socket() as socket:
        words, pictures = ask(socket, **state, edits=edits)
        assert pictures
        assert len(words["notes"]) == 5
        assert running.session.get(f"{running.address}/image.png?label=cat").status_code == 422
        words, _ = ask(socket, 2, left="A@3", label="cat")
        words, _ = ask(socket, 3, left="Z")
        assert "there is no network" in words["error"]


def test_only_the_newest_state_of_each_page_is_drawn(running):
    with running.socket() as one, running.socket() as other:
        for number in range(1, 301):
            one.send(json.dumps({"n": number, "state": {"seed": number}}))
        assert ask(other, 1, seed=5)[1]
        drawn = []
        while not drawn or drawn[-1] != 300:
            message = one.recv()
            if isinstance(message, bytes):
                drawn.append(struct.unpack(">I", message[:4])[0])
        assert drawn == sorted(set(drawn))
        assert len(drawn) < 300


# -------- What is sent to it


def _malformed(rng):
    """A message that no page sends."""
    good = {"n": 1, "state": {"seed": 1}}
    kinds = [
        lambda: rng.randbytes(rng.randint(0, 200)),
        lambda: rng.randbytes(rng.randint(0, 200)).decode("latin-1"),
        lambda: json.dumps(good)[: rng.randint(0, 20)],
        lambda: json.dumps(rng.choice([None, 1, [], "x", [good], {"n": 1}, {"state": {}}, {"n": "1", "state": {}}])),
        lambda: json.dumps({**good, rng.choice(["m", "__proto__", "State", ""]): 1}),
        lambda: json.dumps({"n": rng.choice([-1, 2**32, 1.5, None, True]), "state": {}}),
        lambda: json.dumps({"n": 1, "state": {rng.choice([*vars(State()), "x"]): rng.choice([{}, [[]], -5, 1e300])}}),
        lambda: json.dumps({"n": 1, "state": {}, "keys": rng.choice([[1], {}, [{"seed": -1}], [{}] * 40])}),
        lambda: json.dumps({"n": 1, "state": {}, "motion": rng.choice([1, {"frames": 0}, {"loop": 1}, {"a": 1}])}),
        lambda: json.dumps({"n": 1, "query": rng.choice(["seed", "a=b", "x" * 20_000, 5, "psi=nan"])}),
        lambda: '{"n": 1, "state": ' + "[" * 50_000,
        lambda: '{"n": 1, "state": {"psi": NaN}}',
        lambda: json.dumps({"n": 1, "state": {"left": rng.choice(["Z", "a", "A@", "A@1", "../x", "A B"])}}),
        lambda: json.dumps({"n": 1, "state": {"seed": int("9" * rng.choice([20, 4000]))}}),
    ]
    return rng.choice(kinds)()


def test_a_thousand_malformed_messages(running, caplog):
    rng = random.Random(0)
    with running.socket() as socket, caplog.at_level(logging.WARNING, "studio"):
        for _ in range(1000):
            socket.send(_malformed(rng))
        words, pictures = ask(socket, 4_000_000_000, seed=1)
        assert "error" not in words
        assert pictures
    lines = [record.getMessage() for record in caplog.records if record.name == "studio"]
    assert 500 < len(lines) <= 1000  # of those that name a network that is not there, only the newest is looked at
    assert all(len(line) < 300 and line.isprintable() for line in lines)
    assert not any(record.exc_info for record in caplog.records)


def test_a_message_that_is_too_long_ends_its_socket_alone(running):
    with running.socket() as socket:
        socket.send('{"n": 1, "query": "' + "a" * (1 << 18) + '"}')
        while True:
            try:
                socket.recv()
            except ConnectionClosed:
                break
    with running.socket() as socket:
        assert ask(socket, seed=1)[1]


def _picture(kind="PNG", size=(20, 30), mode="RGB"):
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def _bomb():
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    return buffer.getvalue()


def _npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_a_thousand_malformed_uploads(running, caplog):
    rng = random.Random(1)
    png, jpeg, bomb = _picture(), _picture("JPEG"), _bomb()
    archives = [_npz(w=np.zeros((1, 6, 3))), _npz(v=np.zeros(3)), _npz(w=np.full((1, 6, 20), np.nan)), _npz(w="x")]
    kinds = [
        lambda: rng.randbytes(rng.randint(1, 500)),
        lambda: png[: rng.randint(1, 60)],
        lambda: jpeg[:2] + rng.randbytes(100),
        lambda: b"PK\x03\x04" + rng.randbytes(rng.randint(0, 300)),
        lambda: rng.choice(archives),
        lambda: archives[0][: rng.randint(5, 100)],
        lambda: bomb,
        lambda: b"%!PS-Adobe-3.0\n" + rng.randbytes(30),
        lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        lambda: b"",
        lambda: b"\x80\x02cos\nsystem\n(S'true'\ntR.",
    ]
    ways = ["", "?space=x", "?steps=0", "?steps=9999999999999", "?steps=-1", "?left=Z", "?label=%0a", "?left=A&label=0"]
    with caplog.at_level(logging.WARNING, "studio"):
        for _ in range(1000):
            response = running.session.post(f"{running.address}/photo{rng.choice(ways)}", data=rng.choice(kinds)())
            assert response.status_code == 422
            assert len(response.text.splitlines()) == 1
            assert len(response.text) < 500
    lines = [record.getMessage() for record in caplog.records if record.name == "studio"]
    assert len(lines) == 1000
    assert all(line.isprintable() for line in lines)
    assert "/tmp" not in " ".join(lines)
    with running.socket() as socket:
        assert ask(socket, seed=1)[1]


def test_an_upload_that_is_too_large_is_refused_while_it_comes(running):
    sent = 0

    def endless():
        nonlocal sent
        while sent < 8 * MOST_UPLOAD:
            sent += 1 << 20
            yield bytes(1 << 20)

    try:
        response = running.session.post(f"{running.address}/photo", data=endless())
        assert response.status_code == 422
        assert "32 MiB" in response.text
    except requests.ConnectionError:  # the answer came, and the connection ended, before all was sent
        pass
    assert sent < 8 * MOST_UPLOAD


@pytest.mark.parametrize(
    "order", [b"", b"{", b"[]", b"{}", {"suffix": ".exe"}, {"suffix": ".gif"}, {"suffix": ".gif", "keys": [{}]},
              {"suffix": ".gif", "keys": [{}, {}], "fps": 0}, {"suffix": ".gif", "keys": [{}] * 33},
              {"suffix": ".gif", "keys": [{}, {}], "state": {"left": "Z"}}, {"suffix": ".gif", "keys": [{}, 1]}],
)  # fmt: skip
def test_orders_of_films_that_are_none(running, order):
    data = order if isinstance(order, bytes) else json.dumps({"state": {}, **order})
    response = running.session.post(f"{running.address}/film", data=data)
    assert response.status_code == 422
    assert len(response.text.splitlines()) == 1


# -------- Photographs and films


def follow(socket, kind):
    """The words of a job to its end, and what its pictures were."""
    words, sides = [], set()
    while not words or words[-1]["state"] == "running":
        message = socket.recv()
        if isinstance(message, bytes):
            sides.add(message[4])
        elif (found := json.loads(message)).get("job") == kind:
            words.append(found)
    return words, sides


def test_a_photograph_is_projected_shown_and_taken_away(running, tmp_path):
    with running.socket() as socket:
        started = running.session.post(f"{running.address}/photo?steps=3&space=w%2B", data=_picture())
        assert started.status_code == 202, started.text
        words, sides = follow(socket, "projection")
        assert words[-1]["state"] == "done"
        assert TARGET in sides
        photo = words[-1]["photo"]
        answered, pictures = ask(socket, photo=photo)
        assert pictures
        assert f"--projected-w=projected_w-{photo}.npz" in answered["command"]
    file = running.session.get(f"{running.address}/photo/{photo}.npz").content
    assert np.load(io.BytesIO(file))["w"].shape == (1, 6, 20)
    assert running.session.post(f"{running.address}/photo", data=file).json() == {"photo": photo}
    for number in range(MOST_PHOTOS):
        other = _npz(w=np.full((1, 6, 20), number, np.float32))
        running.session.post(f"{running.address}/photo", data=other)
    assert running.session.get(f"{running.address}/photo/{photo}.npz").status_code == 422


def test_a_picture_without_a_face_is_not_aligned(running):
    refused = running.session.post(f"{running.address}/photo?align=1", data=_picture())
    assert refused.status_code == 422
    assert "the upload shows no face" in refused.text or "pip install" in refused.text
    assert "/tmp" not in refused.text


def test_a_projection_is_stopped_and_a_second_waits_for_the_first(running):
    with running.socket() as socket:
        assert running.session.post(f"{running.address}/photo?steps=5000", data=_picture()).status_code == 202
        second = running.session.post(f"{running.address}/photo", data=_picture())
        assert second.status_code == 409
        assert "under way" in second.text
        assert ask(socket, seed=1)[1]  # pictures go on meanwhile
        running.session.post(f"{running.address}/stop/projection")
        words, _ = follow(socket, "projection")
        assert words[-1]["state"] == "done"  # with the best so far
        assert ask(socket, 2, photo=words[-1]["photo"])[1]


def test_key_frames_are_played_and_become_a_film(running):
    keys = [{"seed": 1}, {"seed": 2}, {"seed": 3, "psi": 0.5}]
    motion = {"frames": 4, "loop": True}
    with running.socket() as socket:
        frames = {}
        for frame in (0, 1, 4, 12):
            socket.send(json.dumps({"n": frame + 1, "state": {}, "keys": keys, "motion": motion, "frame": frame}))
            frames[frame] = opened(answer(socket, frame + 1)[1][LEFT]).tobytes()
        assert frames[0] == frames[12] == opened(ask(socket, 20, seed=1)[1][LEFT]).tobytes()
        assert frames[4] == opened(ask(socket, 21, seed=2)[1][LEFT]).tobytes()
        assert frames[1] not in (frames[0], frames[4])
        order = json.dumps({"state": {}, "keys": keys, "motion": motion, "suffix": ".gif", "fps": 20})
        assert running.session.post(f"{running.address}/film", data=order).status_code == 202
        words, _ = follow(socket, "film")
        film = running.session.get(f"{running.address}/film/{words[-1]['file']}")
        assert (opened(film.content).format, opened(film.content).n_frames) == ("GIF", 12)


def test_a_film_is_cancelled(running):
    with running.socket() as socket:
        order = {"state": {}, "keys": [{}, {"seed": 1}], "motion": {"frames": 600}, "suffix": ".webp"}
        assert running.session.post(f"{running.address}/film", data=json.dumps(order)).status_code == 202
        running.session.post(f"{running.address}/stop/film")
        words, _ = follow(socket, "film")
        assert words[-1]["state"] == "stopped"
        assert ask(socket, seed=1)[1]
