"""The site in a browser: opened from disk, at the width of a desktop and of a phone."""

from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
# One page of each template.
KINDS = [
    "index.html", "agreement.html", "finiteness.html", "curves.html", "provenance.html", "data.html",
    "cases/seed-article.html", "implementations/numpy-naive.html",
]  # fmt: skip
OTHERS = ["grades.html", "cases.html", "errors.html", "modes.html", "devices.html", "bounds.html", "faults.html"]
AGAIN_ON_A_PHONE = ("index.html", "finiteness.html", "cases/seed-article.html")


@pytest.fixture(scope="module")
def site(small_site):
    return small_site


@pytest.fixture(params=WIDTHS)
def page(request, browser):
    """Return a page that fails the test for an error on its console or a request that leaves the disk."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(20_000)
    opened = context.new_page()
    wrong = []
    opened.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("requestfailed", lambda sent: wrong.append(f"failed: {sent.url}"))
    opened.on(
        "request", lambda sent: wrong.append(sent.url) if urlsplit(sent.url).scheme not in ("file", "data") else None
    )
    yield opened
    context.close()
    assert wrong == []


def opened(page, site, file, fragment=""):
    page.goto("about:blank")  # so that an address with another fragment is loaded again
    page.goto((site / file).as_uri() + fragment)
    if page.locator(".grid").count():
        page.locator(".grid tbody tr").first.wait_for()
    return page


def column(page, grid, title):
    """Return the words of a table's column in the order shown."""
    titles = page.locator(f"[data-grid='{grid}'] thead th").all_inner_texts()
    index = [t.strip() for t in titles].index(title)
    cells = page.locator(f"[data-grid='{grid}'] tbody tr td:nth-child({index + 1})")
    return [words.strip() for words in cells.all_inner_texts()]


def test_every_kind_of_page_fits_its_width_and_is_accessible(page, site):
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    found = {}
    for file in KINDS + OTHERS:
        opened(page, site, file)
        if file == "curves.html":
            page.locator(".drawing svg").first.wait_for()
        beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found[file] = [f"{beyond} pixels too wide"] * (beyond > 0)
        if file in OTHERS or (page.viewport_size["width"] < 1000 and file not in AGAIN_ON_A_PHONE):
            continue
        # Do not read style sheets again: the pages' policy would refuse it.
        violations = axe.run(page, options={"preload": False}).response["violations"]
        found[file] += [
            (v["id"], [n["html"] for n in v["nodes"]][:2]) for v in violations if v["impact"] in ("serious", "critical")
        ]
    assert {file: problems for file, problems in found.items() if problems} == {}


def test_links_lead_from_the_matrix_to_a_case_and_back(page, site):
    opened(page, site, "index.html")
    letter = page.get_by_role("link", name="numpy/naive, float32: F")
    letter.click()
    page.locator("[data-grid='given'] tbody tr").first.wait_for()
    assert "/cases/" in page.url
    # The letter links to the result of this implementation in this dtype.
    assert set(column(page, "given", "implementation")) == {"numpy/naive"}
    assert set(column(page, "given", "dtype")) == {"float32"}
    page.get_by_role("link", name="All grades").click()
    page.get_by_role("heading", name="Worst grade over all cases").wait_for()
    assert page.url.endswith("index.html#matrix")
    page.go_back()
    page.locator("[data-grid='given'] tbody tr").first.wait_for()
    assert set(column(page, "given", "implementation")) == {"numpy/naive"}


def test_a_selection_is_applied_and_kept_in_the_address(page, site):
    opened(page, site, "implementations/numpy-naive.html")
    page.get_by_role("combobox", name="family").select_option("masks")
    page.get_by_role("combobox", name="dtype").select_option("float64")
    assert set(column(page, "cases", "family")) == {"masks"}
    assert set(column(page, "cases", "dtype")) == {"float64"}
    sent = page.url
    assert "cases.family=masks" in sent
    before = column(page, "cases", "case")
    opened(page, site, "implementations/numpy-naive.html", "#" + sent.partition("#")[2])
    assert column(page, "cases", "case") == before
    assert page.get_by_role("combobox", name="family").input_value() == "masks"


def test_the_search_field_filters_the_table(page, site):
    opened(page, site, "cases.html")
    page.get_by_label("Find").fill("article_mean")
    page.wait_for_function("location.hash.includes('cases.find=article_mean')")
    assert column(page, "cases", "case") == ["seed/article_mean"]


def test_numbers_sort_as_numbers_with_infinity_at_an_end(page, site):
    opened(page, site, "errors.html")
    heading = page.locator("[data-grid='errors_loss'] thead th", has_text="loss largest")
    heading.locator("[role=button], button").first.click()
    page.wait_for_function("location.hash.includes('errors_loss.order')")
    shown = column(page, "errors_loss", "loss largest")
    values = [float(v) for v in shown]
    assert values == sorted(values)
    assert values[-1] == float("inf")
    assert heading.get_attribute("aria-sort") == "ascending"
    first = column(page, "errors_loss", "implementation")
    opened(page, site, "errors.html", "#" + page.url.partition("#")[2])
    assert column(page, "errors_loss", "implementation") == first


def test_curves_are_drawn_and_the_selection_is_in_the_address(page, site):
    opened(page, site, "curves.html")
    page.locator(".drawing svg").first.wait_for()
    page.get_by_role("combobox", name="quantity").select_option("gradient")
    page.locator("svg[aria-label*='gradient']").wait_for()
    assert page.url.endswith("#offset.quantity=gradient")
    opened(page, site, "curves.html", "#offset.quantity=gradient&offset.dtype=float64")
    page.locator("svg[aria-label='Error of the gradient along the offset, float64']").wait_for()


def test_the_matrix_and_the_case_are_shown_without_scripts(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "index.html").as_uri())
    page.get_by_role("link", name="numpy/naive, float32: F").click()
    assert page.locator(".groups .chip").count() > 0
    assert page.get_by_role("link", name="downloads").first.is_visible()
    context.close()


def test_a_program_is_copied_by_its_button(page, site):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, site, "cases/seed-article.html")
    program = page.locator("details.program").first
    assert not program.get_by_role("button").is_visible()
    program.locator("summary").click()
    program.get_by_role("button", name="Copy").click()
    program.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == program.locator("code").text_content()
    assert "print('exact:'" in copied
