"""What people do in the console, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from kgservice.store.keys import Keys as ApiKeys
from kgservice.store.keys import Scope
from tests.browser.chromium import browsing, serving
from tests.browser.page import Page


@pytest.fixture(scope="module")
def driver() -> Iterator[WebDriver]:
    with browsing() as driver:
        yield driver


@pytest.fixture
def page(driver: WebDriver, address: str) -> Iterator[Page]:
    page = Page(driver, address)
    yield page
    page.expect_no_fault()


def test_an_entity_is_found_by_a_typo_and_opened_by_keys(page: Page) -> None:
    page.open("")
    page.see("h1", "Ask the graph")
    page.press("/")
    page.type("frnace")
    page.see(".results li.chosen .label", "France")
    assert page.texts(".results mark")[0] == "France"
    assert "q=frnace" in page.hash
    page.press(Keys.ARROW_DOWN)
    page.wait(lambda: page.texts(".results li.chosen .entity .label") != ["France"])
    page.press(Keys.ARROW_UP)
    page.press(Keys.ENTER)
    page.see("h1", "France")
    assert page.hash == "#/entity/world%3AFrance"
    page.see(".facts dt .label", "currency")
    assert "1999-01-01" in page.text(".facts")  # a qualifier
    assert "Frankreich" in page.text(".texts")
    page.see("aside .ranked .mark", "known")
    page.driver.back()
    page.see(".results .label", "France")
    page.driver.back()
    page.see("h1", "Ask the graph")


def test_facets_narrow_down_and_more_follows(page: Page) -> None:
    page.open("#/search?q=san")
    page.see(".facets h2", "Type")
    before = len(page.all(".results li"))
    page.click(".behind button")
    page.wait(lambda: len(page.all(".results li")) > before)
    page.click(".facets li a")
    page.see(".facets a.on .label")
    assert "type=world%3A" in page.hash


def test_a_question_is_built_from_suggestions(page: Page) -> None:
    page.open("#/complete")
    page.see("h1", "Complete a statement")
    page.click(".slot:nth-child(1) input")
    page.type("frnace")
    page.see(".options li .label", "France")
    page.press(Keys.ENTER)
    page.wait(lambda: "subject=world%3AFrance" in page.hash)
    page.click(".slot:nth-child(2) input")
    page.type("currency")
    page.see(".options li[aria-selected=true] .label", "currency")
    page.press(Keys.ENTER)
    page.see(".candidates li .rank", "1")
    assert page.all(".candidates .probability:not(.raw)")
    assert "Calibrated" in str(page.one(".candidates .probability").get_attribute("title"))
    page.click("button.add")
    page.type("start time")
    page.see(".pairs .options li[aria-selected=true]")
    page.press(Keys.ENTER)
    page.click(".pairs .picker:nth-of-type(2) input")
    page.type("1960")
    page.press(Keys.TAB)
    page.wait(lambda: "with=world%3AstartTime%3D1960" in page.hash)
    page.click(".check input")
    page.see(".candidates .known", "known")


def test_a_question_is_narrowed_by_type_and_statement_and_fused(page: Page) -> None:
    page.open("#/complete?relation=world:memberOf&object=world:European_Union&known=yes")
    page.see(".candidates li .rank", "1")
    page.click(".narrowing .picker input")
    page.type("countr")
    page.see(".narrowing .options li[aria-selected=true]", "country")
    page.press(Keys.ENTER)
    page.see(".narrowing .tag", "only world:Country")
    page.click(".stated-of .picker input")
    page.type("currency")
    page.see(".stated-of .options li[aria-selected=true] .label", "currency")
    page.press(Keys.ENTER)
    page.wait(lambda: page.all(".held input"))
    page.type("zloty")  # the second field has the focus
    page.see(".held .options li[aria-selected=true]")
    page.press(Keys.ENTER)
    page.wait(lambda: "filter=world%3Acurrency%3D" in page.hash)
    page.settle()
    assert page.texts(".candidates .entity .label") == ["Poland"]
    page.click(".narrowing .tag:nth-of-type(2)")
    page.wait(lambda: "filter=" not in page.hash and len(page.all(".candidates li")) > 5)
    select = page.one("select[aria-label='Who answers']")
    page.wait(lambda: len(page.texts("select[aria-label='Who answers'] option")) > 2)
    select.send_keys("all models")
    page.wait(lambda: "fuse=yes" in page.hash)
    page.see(".answer .status", "all calibrated models answer together")
    assert not page.all(".candidates .known")


def test_a_number_is_estimated_with_its_interval(page: Page) -> None:
    page.open("#/complete?subject=world:Czechoslovakia&relation=world:population")
    page.see(".estimate .big")
    assert page.all(".strip .interval")
    assert page.all(".estimate .ranked .entity")


def test_a_statement_is_classified(page: Page) -> None:
    page.open("#/classify?subject=world:Japan&relation=world:currency&object=world:Japanese_Yen")
    page.see(".verdict .big")
    assert page.text(".verdict .big").split("\n")[0] in ("Likely true", "Likely false", "Cannot tell")
    page.see(".verdict .known", "known")
    assert "Probability" in str(page.one(".strip").get_attribute("aria-label"))


def test_why_opens_from_a_candidate_and_its_picture_is_walked(page: Page) -> None:
    page.open("#/complete?relation=world:memberOf&object=world:European_Union&known=yes")
    page.click(".candidates .why")
    page.see("figure .graph")
    nodes = page.all(".graph .node")
    assert len(nodes) >= 3
    start = page.one(".graph .node.end")
    page.driver.execute_script("arguments[0].focus()", start)
    page.press(Keys.ARROW_RIGHT)
    went = page.driver.switch_to.active_element.get_attribute("data-id")
    assert went
    assert went != start.get_attribute("data-id")
    page.press(Keys.ENTER)
    page.wait(lambda: page.hash.startswith("#/entity/"))


def test_a_job_is_begun_its_proposals_queued_and_one_reviewed(page: Page, address: str) -> None:
    page.open("#/jobs")
    page.see("h1", "Jobs")
    page.click(".begin .picker input")
    page.type("shares a border")
    page.see(".begin .options li[aria-selected=true]")
    page.press(Keys.ENTER)
    least = page.one("#least")
    least.clear()
    least.send_keys("1")
    page.click(".begin button.main")
    WebDriverWait(page.driver, 120).until(lambda _: page.all(".job .mark.on"))
    page.see(".proposals .triple")
    page.click("button.main")
    page.click("[role=status] a")
    page.see(".review .verdict .big")
    page.one("#reviewer").send_keys("Ada", Keys.TAB)
    page.driver.execute_script("document.activeElement.blur()")
    page.press("n")
    page.see(".page-review .status", "1 proposal decided, the last one rejected.")
    page.see(".page-review section:last-child p", "0 accepted, 1 rejected, 0 unsure.")
    run = page.hash.partition("of=")[2]
    assert httpx.get(f"{address}/v1/reviews/summary", params={"enrichment": run}).json()["rejected"] == 1


def test_an_unknown_name_is_told_its_closest_as_a_link(page: Page) -> None:
    page.open("#/entity/world:Frnace")
    page.see(".problem .lead", "Unknown entity")
    page.click(".problem .closest a")
    page.see("h1", "France")
    page.expect_no_fault(but="404")


def test_what_a_model_has_read_is_told_by_parts(driver: WebDriver, two_releases: tuple[Path, list[str]]) -> None:
    with serving(two_releases[0]) as address:
        page = Page(driver, address)
        page.open("#/why?subject=ex:child3&relation=ex:livesIn&object=ex:town0")
        page.see(".read h2", "What it read")
        assert page.texts(".read li > span:first-child")[0].startswith("The question")
        assert "child of house 3" in " ".join(page.texts(".read blockquote"))  # its description
        assert len(page.texts(".read .mark.on")) <= 1
        page.expect_no_fault()


def test_releases_are_compared_served_and_rolled_back_with_a_key(
    driver: WebDriver, two_releases: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, (first, second) = two_releases
    shutil.copytree(folder / "releases", tmp_path / "releases")
    keys = ApiKeys.open(tmp_path, make=True)
    assert keys is not None
    texts = {scope: keys.add(scope.value, scope)[1] for scope in (Scope.WRITE, Scope.ADMIN)}
    keys.close()
    with serving(tmp_path, open_reads=True) as address:
        page = Page(driver, address)
        page.open("#/releases")
        page.see(f"[aria-label='Release {second}'] .mark.on", "serving")
        page.click(f"[aria-label='Release {first}'] .acts a")
        page.see(".figures", "have other answers")
        page.see(".change h3", "?")
        assert page.all(".change tr.up, .change tr.down, .change tr.new")
        page.open("#/releases")
        serve = f"button[aria-label='Serve {first}']"
        page.click(serve)
        page.see("dialog h2", f"Serve {first}?")
        page.press(Keys.ESCAPE)
        page.wait(lambda: not page.all("dialog"))
        page.click(serve)
        page.press(Keys.ENTER)  # the button that says yes has the focus
        page.see(".problem button", "Enter a key")
        for scope, seen in ((Scope.WRITE, ".problem button"), (Scope.ADMIN, ".note.good")):
            page.click("#settings")
            page.one("#key").clear()
            page.one("#key").send_keys(texts[scope])
            page.click("dialog button.main")
            page.click(serve)
            page.press(Keys.ENTER)
            page.see(seen)
        page.see(".note.good", f"{first} serves.")
        assert httpx.get(f"{address}/readyz").json()["release"].startswith(first)
        page.click(".acts button:nth-of-type(2)")
        page.press(Keys.ENTER)
        page.see(".note.good", f"{second} serves.")
        driver.execute_script("sessionStorage.clear()")
        page.expect_no_fault(but="40")


def test_stored_markup_is_shown_as_text(page: Page, address: str) -> None:
    evil = "<img src=x onerror=window.hacked=1><b>bold</b>"
    record = {"labels": {"en": evil}, "descriptions": {"en": f"{evil} description"}, "types": ["world:City"]}
    assert httpx.put(f"{address}/v1/entities/world:Evil", json=record, timeout=60).status_code in (200, 201)
    page.open("#/entity/world:Evil")
    page.see("h1", evil)
    page.open("#/search?q=bold%20description")
    page.see(".results .label")
    assert page.driver.execute_script("return window.hacked") is None
    assert not page.all("main img, main b")
    refused = page.driver.execute_script("try { document.body.innerHTML = '<p>'; return false } catch { return true }")
    assert refused, "the policy lets text become markup"
    assert httpx.delete(f"{address}/v1/entities/world:Evil").status_code == 204


def test_the_map_names_what_is_pointed_at_and_opens_it(page: Page) -> None:
    page.open("#/map?at=world:France")
    WebDriverWait(page.driver, 90).until(lambda _: page.all(".canvas .told .id"))
    page.see(".canvas .told", "France")
    assert len(page.all(".legend button")) >= 3
    canvas = page.one("canvas")
    ActionChains(page.driver).move_to_element(canvas).perform()
    page.see(".canvas .told .id", "world:France")  # the map is centred on it
    ActionChains(page.driver).move_to_element(canvas).click().perform()
    page.see("h1", "France")


def test_keys_are_shown_and_settings_kept(page: Page) -> None:
    page.open("#/releases")
    page.see(".release .mark.on", "serving")
    page.press("?")
    page.see("dialog h2", "Keys")
    page.press(Keys.ESCAPE)
    page.wait(lambda: not page.all("dialog"))
    page.click("#settings")
    language = page.one("#language")
    language.clear()
    language.send_keys("de")
    page.click("dialog button.main")
    page.open("#/entity/world:France")
    page.see("h1", "Frankreich")
    page.driver.execute_script("localStorage.clear()")


def test_a_wrong_key_is_told_and_can_be_mended(page: Page) -> None:
    page.open("#/entity/world:France")
    page.see("h1", "France")
    page.click("#settings")
    page.one("#key").send_keys("no-such-key")
    page.click("dialog button.main")
    page.see(".problem button", "Enter a key")
    kept = page.driver.execute_script("return [sessionStorage.length, localStorage.getItem('kgservice.key')]")
    assert kept == [1, None]
    page.click(".problem button")
    page.one("#key").clear()
    page.click("dialog button.main")
    page.see("h1", "France")
    page.expect_no_fault(but="401")


PHONE_PAGES = (
    "#/",
    "#/search?q=paris",
    "#/entity/world:France",
    "#/complete?relation=world:memberOf&object=world:European_Union",
    "#/why?subject=world:France&relation=world:memberOf&object=world:European_Union",
    "#/map",
    "#/jobs",
    "#/releases",
    "#/diff",
)


@pytest.mark.parametrize("hash", PHONE_PAGES)
def test_a_phone_needs_no_sideways_scrolling(address: str, hash: str) -> None:
    with browsing(390, 844, phone=True) as driver:
        page = Page(driver, address)
        page.open(hash)
        page.see("main :is(h1, .results li)")
        page.settle()
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390, f"{wide} pixels of 390"


def test_dark_follows_the_system(address: str) -> None:
    shades = []
    for dark in (False, True):
        with browsing(dark=dark) as driver:
            page = Page(driver, address)
            page.open("")
            page.see("h1", "Ask the graph")
            colour = driver.execute_script("return getComputedStyle(document.documentElement).backgroundColor")
            shades.append(sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")))
    assert shades[0] > 600 > 150 > shades[1]
