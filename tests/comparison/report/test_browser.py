"""The report in a real browser, without a network; skipped where there is none."""

import pytest

from comparison.findings import results
from comparison.report import figures, samples, style
from comparison.report import page as report
from comparison.runs.collect import read_runs


@pytest.fixture(scope="module")
def browser(chromium):
    chromium.execute_cdp_cmd("Network.enable", {})
    chromium.execute_cdp_cmd("Network.emulateNetworkConditions",
                           {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0})  # fmt: skip
    return chromium


@pytest.fixture(scope="module")
def content(comparison_folder):
    outdir, design = comparison_folder
    runs = read_runs(outdir, design)
    built = results.build_results(outdir, design, runs)
    styles = style.line_styles(design.losses)
    figures.write_figures(outdir / "figures", built, runs, styles)
    report.write_report(outdir, built, samples.collect_samples(runs), styles)
    return built


@pytest.fixture
def page(browser, content, comparison_folder):
    _size(browser, 1280, 900)
    browser.get((comparison_folder[0] / "report.html").as_uri())
    return browser


def _size(browser, width, height):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )


def _errors(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def _set_slider(page, position):
    page.execute_script(
        "const s = document.getElementById('step'); s.value = arguments[0]; s.dispatchEvent(new Event('input'));",
        position,
    )


def _pictures(page):
    return page.execute_script("return [...document.querySelectorAll('#panels img')].map((i) => [i.src, i.alt])")


def test_no_console_errors_and_nothing_loaded_from_elsewhere(page):
    assert _errors(page) == []
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_the_slider_moves_the_pictures(page, content):
    last = _pictures(page)
    assert len(last) == len(content.losses)
    assert "after 40 thousand images" in last[0][1]
    _set_slider(page, 0)
    first = _pictures(page)
    assert "after 0 thousand images" in first[0][1]
    assert all(a[0] != b[0] for a, b in zip(first, last, strict=True))
    assert page.find_element("id", "count").text == "0 kimg"
    sizes = page.execute_script("return [...document.querySelectorAll('#panels img')].map((i) => i.naturalWidth)")
    assert sizes == [6 * 16] * len(content.losses)
    assert _errors(page) == []


def test_another_seed_shows_other_pictures(page):
    before = _pictures(page)
    page.execute_script(
        "const s = document.getElementById('seed'); s.value = '1'; s.dispatchEvent(new Event('change'));"
    )
    after = _pictures(page)
    assert "seed 1" in after[0][1]
    assert before[0][0] != after[0][0]


def test_switching_a_loss_off_changes_the_plot(page, content):
    def lines():
        return page.execute_script("return [...document.querySelectorAll('[data-line]')].map((l) => l.dataset.line)")

    everything = [loss.key for loss in content.losses]
    assert lines() == everything
    button = page.find_element("css selector", "#legend [data-loss='rlo-k2-convex']")
    button.click()
    assert lines() == [key for key in everything if key != "rlo-k2-convex"]
    assert button.get_attribute("aria-pressed") == "false"
    assert len(_pictures(page)) == len(everything) - 1
    button.click()
    assert lines() == everything


def test_metric_axis_and_scale_can_be_chosen(page):
    def drawing():
        return page.execute_script("return document.querySelector('#plot svg').innerHTML")

    seen = {drawing()}
    for element, change in (
        ("axis", "e.value = 'seconds'"),
        ("log", "e.checked = false"),
        ("each", "e.checked = true"),
    ):
        page.execute_script(
            f"const e = document.getElementById('{element}'); {change}; e.dispatchEvent(new Event('change'));"
        )
        assert drawing() not in seen
        seen.add(drawing())
    assert _errors(page) == []


def test_hovering_shows_the_values_of_the_results(page, content):
    from selenium.webdriver.common.action_chains import ActionChains

    plot = page.find_element("css selector", "#plot svg")
    ActionChains(page).move_to_element_with_offset(plot, 100, 0).perform()
    shown = page.execute_script(
        "return [...document.querySelectorAll('.tip [data-loss]')].map((r) =>"
        " [r.dataset.loss, Number(r.dataset.mean), r.textContent])"
    )
    count = float(page.find_element("css selector", ".tip b").text.removesuffix(" kimg")) * 1000
    assert [row[0] for row in shown] == [loss.key for loss in content.losses]
    for key, mean, text in shown:
        curve = content.metrics["swd"].curves[key]
        expected = curve.mean[curve.nimg.index(round(count))]
        assert mean == expected
        assert f"{expected:.4g}" in text


def test_the_keyboard_reads_values_too(page):
    from selenium.webdriver.common.keys import Keys

    plot = page.find_element("css selector", "#plot svg")
    plot.send_keys(Keys.ARROW_RIGHT)
    assert page.find_element("css selector", ".tip b").text == "0 kimg"
    plot.send_keys(Keys.ARROW_RIGHT)
    assert page.find_element("css selector", ".tip b").text == "5 kimg"


def test_numbers_shown_equal_the_results(page, content):
    analysed = content.metrics["swd"]
    rows = page.execute_script(
        "return [...document.querySelectorAll('[data-table=\"summary-swd\"] tbody tr')].map((r) =>"
        " [r.cells[0].dataset.loss, ...[...r.cells].slice(1).map((c) => [Number(c.dataset.value), c.innerText])])"
    )
    assert len(rows) == len(content.losses)
    for key, *cells in rows:
        for quantity, (exact, text) in zip(("final", "best", "average"), cells, strict=False):
            expected = getattr(analysed.summary[key], quantity)
            assert exact == expected.mean
            mean, interval = text.split("\n")
            assert float(mean) == pytest.approx(expected.mean, rel=5e-4)
            assert [float(v) for v in interval.split(" to ")] == pytest.approx([expected.low, expected.high], rel=5e-4)
    differences = page.execute_script(
        "return [...document.querySelectorAll('[data-table=\"differences-swd\"] tbody tr')].map((r) =>"
        " [2, 4, 5].map((i) => Number(r.cells[i].dataset.value)))"
    )
    assert differences == [[row.mean, row.p, row.p_holm] for row in analysed.comparisons]
    sentences = [item.text for item in page.find_elements("css selector", ".findings li")]
    assert sentences == [row.sentence for row in analysed.comparisons if row.quantity == "final"]


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "dark")])
def test_it_fits_the_screen_and_follows_the_colour_scheme(browser, content, comparison_folder, width, scheme):
    _size(browser, width, 844)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get((comparison_folder[0] / "report.html").as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    missing = browser.execute_script("return [...document.images].filter((i) => !i.alt).length")
    assert missing == 0
    assert browser.execute_script("return document.querySelector('#plot svg').getAttribute('aria-label')")
    assert _errors(browser) == []


def test_it_prints(page):
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"]
    assert len(printed) > 20_000
    assert _errors(page) == []
