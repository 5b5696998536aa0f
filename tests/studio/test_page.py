"""The page in a real browser; skipped where there is none. One browser and one server for all tests."""

import json
import shutil

import pytest
import torch
from PIL import Image

from studio.networks import Catalogue
from training.snapshot import load_snapshot

PIXELS = """
const image = document.getElementById(arguments[0]), canvas = document.createElement('canvas');
canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
canvas.getContext('2d').drawImage(image, 0, 0);
return canvas.toDataURL();
"""
SET = """
const e = document.getElementById(arguments[0]);
e.value = arguments[1];
e.dispatchEvent(new Event(arguments[2], {bubbles: true}));
"""


@pytest.fixture(scope="module")
def browser(chromium):
    chromium.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    return chromium


@pytest.fixture(scope="module")
def running(files, run_folder, serve):
    """A: conditional and grey, B: of other sizes, C: a run."""
    networks = [str(files[name]) for name in ("classes", "wide")]
    return serve(Catalogue(networks, [run_folder], torch.device("cpu"), load_snapshot))


class Page:
    """The page as its user sees it."""

    def __init__(self, browser, running, wait_until):
        self.browser, self.running, self._wait_until = browser, running, wait_until

    def open(self, query="left=C", width=1280, scheme="light"):
        mobile = width < 600
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile},
        )
        self.browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        self.browser.get(f"{self.running.address}/?token={self.running.token}&{query}")
        self.settle()
        return self

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def wait(self, condition):
        self._wait_until(lambda: self.run(f"return {condition}"))

    def settle(self):
        """Wait until the newest question is answered and shown."""
        self.wait("document.getElementById('stage').getAttribute('aria-busy') === 'false'")

    def pixels(self, image="left-picture"):
        self.settle()
        return self.run(PIXELS, image)

    def set(self, name, value, event="input"):
        self.run(SET, name, value, event)

    def click(self, name):
        self.run("document.getElementById(arguments[0]).click()", name)

    def click_to_the_end(self, name):
        self.run("const e = document.getElementById(arguments[0]); while (!e.disabled) e.click();", name)

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def notes(self):
        return self.run("return [...document.querySelectorAll('#notes li')].map((e) => e.textContent)")

    def errors(self):
        return [entry for entry in self.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def upload(self, name, path):
        self.browser.find_element("id", name).send_keys(str(path))


@pytest.fixture
def page(browser, running, wait_until):
    found = Page(browser, running, wait_until)
    found.errors()
    found.browser.get("data:text/html,nothing")
    yield found
    assert found.errors() == []


# -------- Every control


CONTROLS = {
    "a seed": ("left=C", lambda p: p.set("seed", 77)),
    "the next seed": ("left=C", lambda p: p.click("seed-next")),
    "the seed before": ("left=C&seed=3", lambda p: p.click("seed-before")),
    "a random seed": ("left=C", lambda p: p.click("seed-random")),
    "truncation": ("left=C", lambda p: p.set("psi", 0.3)),
    "the cutoff": ("left=C&psi=0", lambda p: p.set("cutoff", 2)),
    "no noise": ("left=C", lambda p: p.set("noise", "none", "change")),
    "random noise": ("left=C&noise=random", lambda p: p.set("noise-seed", 9)),
    "a class": ("left=A", lambda p: p.set("class-2", 0.5)),
    "a label as it is": ("left=A&label=1", lambda p: (p.set("class-0", 0.7), p.click("as-it-is"))),
    "a second seed": ("left=C", lambda p: p.click("mix-on")),
    "another second seed": ("left=C&mix=4", lambda p: p.click("mix-next")),
    "mixed layers": ("left=C&mix=4", lambda p: p.run("document.querySelector('[data-layer=\"5\"]').click()")),
    "a principal component": ("left=C", lambda p: p.set("pca-1", 2)),
    "where it acts": ("left=C&edit=pca1:2.0", lambda p: p.set("pca-1-zone", "fine", "change")),
    "SeFa": ("left=C", lambda p: (p.set("kind", "sefa", "change"), p.set("sefa-0", -2))),
    "reset": ("left=C&edit=pca1:2.0", lambda p: p.click("reset")),
    "another network": ("left=C", lambda p: p.set("left", "B", "change")),
    "time": ("left=C", lambda p: p.set("snapshot", 0)),
}  # fmt: skip


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_changes_the_picture_and_can_be_undone(page, control):
    query, use = CONTROLS[control]
    page.open(query)
    before = page.pixels()
    use(page)
    after = page.pixels()
    assert after != before
    page.wait("!document.getElementById('undo').disabled")
    # What follows within a moment is one step of the history, and on a busy machine it is two.
    page.click_to_the_end("undo")
    assert page.pixels() == before
    page.click_to_the_end("redo")
    assert page.pixels() == after
    assert page.notes() == []


def test_the_plane_is_dragged_with_the_mouse_and_moved_with_keys(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.open()
    seen = {page.pixels()}
    plane = page.browser.find_element("id", "plane")
    ActionChains(page.browser).move_to_element_with_offset(plane, 40, 0).click_and_hold().move_by_offset(
        5, 30
    ).perform()
    seen.add(page.pixels())
    ActionChains(page.browser).release().perform()
    plane.send_keys(Keys.ARROW_UP)
    seen.add(page.pixels())
    assert len(seen) == 3
    assert "across 2." in plane.get_attribute("aria-label")
    assert page.run("return document.getElementById('pca-0').value") > "2"


# -------- The state


def test_the_link_brings_the_same_picture_and_controls_back(page):
    page.open()
    page.set("seed", 5)
    page.set("psi", 0.55)
    page.set("pca-2", 1.5)
    page.click("key-add")
    before = page.pixels()
    page.wait("location.search.includes('key=')")
    page.browser.refresh()
    page.settle()
    assert page.pixels() == before
    assert page.run("return ['seed', 'psi', 'pca-2'].map((i) => document.getElementById(i).value)") == [
        "5",
        "0.55",
        "1.5",
    ]
    assert page.run("return document.querySelectorAll('#keys li').length") == 1


def test_link_and_command_are_copied(page):
    page.open("left=C&seed=8&psi=0.5")
    page.click("copy-command")
    page.wait("document.getElementById('said').textContent.includes('copied')")
    read = "navigator.clipboard.readText().then(arguments[0])"
    assert page.browser.execute_async_script(read) == page.text("command")
    assert "--seeds=8 --trunc=0.5" in page.text("command")
    page.click("copy-link")
    page.wait("document.getElementById('said').textContent.includes('link') && location.search.includes('of=')")
    assert page.browser.execute_async_script(read) == page.run("return location.href")
    assert "seed=8&psi=0.5" in page.run("return location.href")


def test_a_preset_is_opened_and_another_file_is_not(page, tmp_path):
    page.open()
    before = page.pixels()
    preset = {"studio": 1, "state": {"left": "C", "seed": 41, "edits": []}, "keys": [{"seed": 1}, {"seed": 2}]}
    (tmp_path / "preset.json").write_text(json.dumps(preset))
    (tmp_path / "other.json").write_text('{"a": 1}')
    page.upload("open-preset", tmp_path / "other.json")
    page.wait("document.getElementById('said').textContent.includes('no preset')")
    page.upload("open-preset", tmp_path / "preset.json")
    page.wait("document.getElementById('seed').value === '41'")
    assert page.pixels() != before
    assert page.run("return document.querySelectorAll('#keys li').length") == 2
    preset["state"]["seed"] = -1
    (tmp_path / "broken.json").write_text(json.dumps(preset))
    page.upload("open-preset", tmp_path / "broken.json")
    page.wait("document.getElementById('notes').textContent.includes('seed')")
    assert page.run("return document.getElementById('seed').value") == "41"


def test_an_address_of_another_network_is_said_and_drawn(page):
    page.open("left=C&label=dog&cutoff=40&photo=0123456789abcdef")
    assert len(page.notes()) == 3
    page.open("left=nothing")
    page.wait("document.getElementById('notes').textContent.includes('no network')")
    page.browser.get(f"{page.running.address}/?what=1")
    page.wait("document.getElementById('left-picture').naturalWidth > 0")


def test_sliders_are_saved_under_a_name(page):
    page.open()
    page.set("pca-1", 1.5)
    smile = page.pixels()
    page.browser.find_element("id", "edit-name").send_keys("smile")
    page.click("save-edit")
    page.click("reset")
    assert page.pixels() != smile
    page.browser.refresh()
    page.settle()
    page.run("document.querySelector('#saved button').click()")
    assert page.pixels() == smile
    page.run("document.querySelectorAll('#saved button')[1].click()")
    assert page.run("return document.querySelectorAll('#saved li').length") == 0


# -------- Key frames


def test_key_frames_are_ordered_and_played(page):
    page.open()
    for seed in (1, 2, 3):
        page.set("seed", seed)
        page.click("key-add")
    page.settle()
    titles = "return [...document.querySelectorAll('#keys img')].map((e) => e.alt.split(' ').pop())"
    assert page.run(titles) == ["1", "2", "3"]
    page.wait("[...document.querySelectorAll('#keys img')].every((e) => e.naturalWidth === 16)")
    page.run("document.querySelector('#keys [aria-label=\"Key frame 1 later\"]').click()")
    page.run("document.querySelector('#keys [aria-label=\"Remove key frame 3\"]').click()")
    assert page.run(titles) == ["2", "1"]
    page.set("frames", 40)
    page.click("play")
    seen = set()
    while len(seen) < 4:
        seen.add(page.run(PIXELS, "left-picture"))
    page.click("play")
    still = page.pixels()
    assert page.text("play") == "Play"
    assert page.pixels() == still


def test_a_film_is_made_and_cancelled(page):
    page.open("left=C&key=seed%3D1&key=seed%3D2")
    page.set("frames", 3)
    page.click("film-gif")
    page.wait("!document.getElementById('film-file').hidden")
    link = page.run("return document.getElementById('film-file').getAttribute('href')")
    assert page.running.session.get(page.running.address + link).content.startswith(b"GIF8")
    page.set("frames", 600)
    page.click("film-gif")
    page.wait("!document.getElementById('film-stop').hidden")
    page.click("film-stop")
    page.wait("document.getElementById('said').textContent.includes('cancelled')")


# -------- Photographs


def test_a_photograph_is_projected_shown_edited_and_left(page, tmp_path):
    Image.effect_noise((40, 30), 60).save(tmp_path / "face.png")
    page.open()
    before = page.pixels()
    page.set("steps", 4)
    page.upload("photo", tmp_path / "face.png")
    page.wait("!document.getElementById('photo-row').hidden")
    photo = page.pixels()
    assert photo != before
    page.wait("['target', 'preview'].every((i) => document.getElementById(i).naturalWidth === 16)")
    page.set("pca-0", 2)
    assert page.pixels() != photo
    assert page.notes() == []
    href = page.run("return document.getElementById('photo-file').getAttribute('href')")
    assert page.running.session.get(page.running.address + href).content.startswith(b"PK")
    page.click("photo-leave")
    page.click("reset")
    assert page.pixels() == before


def test_a_projection_is_stopped(page, tmp_path):
    Image.effect_noise((40, 30), 60).save(tmp_path / "face.png")
    page.open()
    page.set("steps", 5000)
    page.upload("photo", tmp_path / "face.png")
    page.wait("document.getElementById('projection-said').textContent.includes('distance')")
    page.upload("photo", tmp_path / "face.png")
    page.wait("document.getElementById('said').textContent.includes('under way')")
    page.click("projection-stop")
    page.wait("!document.getElementById('photo-row').hidden")
    # The refused second upload is what the browser's log calls an error.
    assert {entry["level"] for entry in page.errors()} == {"SEVERE"}


@pytest.mark.parametrize("data", [b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(100), b"PK\x03\x04" + bytes(50)])
def test_hostile_files_are_refused_in_a_line(page, tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    page.open()
    before = page.pixels()
    page.upload("photo", tmp_path / "a.png")
    page.wait("document.getElementById('said').textContent.includes('the upload')")
    assert page.pixels() == before
    assert len(page.errors()) == 1


# -------- Networks side by side, and over time


def test_two_networks_side_by_side(page):
    page.open()
    page.set("right", "B", "change")
    page.wait("document.getElementById('right-picture').naturalWidth === 12")
    assert any("z has" in note for note in page.notes())
    before = page.pixels("right-picture")
    page.set("seed", 4)
    assert page.pixels("right-picture") != before
    page.set("right", "", "change")
    page.wait("document.getElementById('right-figure').hidden")


def test_snapshots_and_curves_of_a_run_and_a_new_one_appears(page, run_folder):
    page.open()
    newest = page.pixels()
    assert page.text("snapshot-shown") == "12 kimg"
    page.wait("document.querySelectorAll('#plot circle').length === 2")
    assert "220.5 at 0 kimg" in page.run("return document.querySelector('#plot svg').getAttribute('aria-label')")
    fresh = run_folder / "network-snapshot-000024.safetensors"
    shutil.copy(run_folder / "network-snapshot-000000.safetensors", fresh)
    try:
        page.wait("document.getElementById('snapshot-shown').textContent === '24 kimg'")
        after = page.pixels()
        assert after != newest
        page.set("snapshot", 0)
        assert page.pixels() == after  # the same file
        page.set("snapshot", 1)
        assert page.pixels() == newest
    finally:
        fresh.unlink()
        page.wait("document.getElementById('snapshot').max === '1'")


# -------- Everywhere


def test_by_keyboard_alone(page):
    from selenium.webdriver.common.keys import Keys

    page.open("left=C&seed=10")
    page.press(Keys.ARROW_RIGHT)
    page.settle()
    assert page.run("return document.getElementById('seed').value") == "11"
    page.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, "k", Keys.ARROW_RIGHT, "k")
    page.settle()
    assert page.run("return document.querySelectorAll('#keys li').length") == 2
    page.press(" ")
    page.wait("document.getElementById('play').textContent === 'Stop'")
    page.press(" ")
    page.wait("document.getElementById('play').textContent === 'Play'")
    page.run("for (const one of document.querySelectorAll('details')) one.open = true")
    focused = set()
    for _ in range(90):
        page.press(Keys.TAB)
        focused.add(page.run("return document.activeElement.id"))
    assert {"undo", "seed", "psi", "plane", "pca-0", "pca-15", "copy-command", "key-add"} <= focused
    page.run("document.getElementById('pca-0').focus()")
    before = page.pixels()
    page.press(Keys.ARROW_RIGHT)
    assert page.pixels() != before
    assert page.run("return document.getElementById('seed').value") == "10"


def test_everything_has_a_name_and_pictures_say_what_they_show(page):
    page.open("left=C&seed=6&psi=0.5&edit=pca1:1.0")
    assert "seed 6, truncation 0.5, pca 1 by 1" in page.run("return document.getElementById('left-picture').alt")
    nameless = page.run("""
        return [...document.querySelectorAll('input, select, button, a, progress, [tabindex]')].filter((e) =>
            !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML)""")
    assert nameless == []
    assert page.run("return [...document.images].filter((i) => !i.alt).length") == 0


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "dark")])
def test_it_fits_the_screen_and_follows_the_colour_scheme(page, width, scheme):
    page.open("left=C&right=B", width, scheme)
    page.run("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.run("return document.documentElement.scrollWidth") <= width
    dark = "getComputedStyle(document.documentElement).colorScheme"
    assert page.run(f"return {dark}") == scheme
    page.click("theme")
    assert page.run(f"return {dark}") != scheme
    page.run("localStorage.clear()")


def test_nothing_is_loaded_from_another_host_nor_can_be(page):
    page.open("left=C&right=B")
    loaded = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert len(loaded) > 10
    assert [name for name in loaded if not name.startswith((page.running.address, "blob:"))] == []
    tried = "fetch('http://127.0.0.2:9/').then(() => 'loaded', () => 'refused').then(arguments[0])"
    assert page.browser.execute_async_script(tried) == "refused"
    assert all("Content Security Policy" in entry["message"] for entry in page.errors())


def test_two_tabs_have_states_of_their_own(page):
    page.open("left=C&seed=1")
    first, handle = page.pixels(), page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    try:
        page.open("left=C&seed=2")
        assert page.pixels() != first
        page.set("seed", 3)
        page.settle()
    finally:
        page.browser.close()
        page.browser.switch_to.window(handle)
    assert page.pixels() == first
    page.set("seed", 3)
    assert page.pixels() != first


def test_the_page_comes_back_when_the_server_does(page, serve):
    page.open("left=C&seed=1")
    page.running.stop()
    page.wait("document.getElementById('link').dataset.state === 'closed'")
    page.set("seed", 2)
    page.running.start_again()
    page.wait("document.getElementById('link').dataset.state === 'open'")
    two = page.pixels()
    page.open("left=C&seed=2")
    assert page.pixels() == two
    page.errors()  # of the lost connection
