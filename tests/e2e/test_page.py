"""The page in a real Chromium against real gateways: what a person sees, clicks and reaches by keyboard alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from interlock.lab.process import Gateway, gateway

BROWSER, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
try:
    from axe_core_python.selenium import Axe
    from selenium import webdriver
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    MISSING = "the page is tested with selenium and axe-core-python, which are not both installed"
else:
    MISSING = "" if BROWSER and DRIVER else "the page is tested in Chromium; chromium or chromedriver is missing"
if MISSING:
    if os.environ.get("INTERLOCK_REQUIRE_ALL") == "1":
        raise RuntimeError(MISSING)
    pytest.skip(MISSING, allow_module_level=True)

PATIENCE = 180.0  # seconds: how long to wait for something before it counts as not happening
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1280,900",
)
VIEWS = ("playground", "decisions", "pool", "traffic", "learning", "shadow", "budgets", "system")
CONFIG = """
providers: {pocket: {kind: pocket}}
candidates:
  - {name: quick, provider: pocket, model: nano-t0, budget: t0, price: {in: 0.1, out: 0.1}, quality: 0.4}
  - {name: thorough, provider: pocket, model: micro-t1, budget: t1, price: {in: 0.4, out: 0.4}, quality: 0.6}
vector: [structure]
policy: {exploration: {kind: greedy}}
"""
STEERED = """
providers: {pocket: {kind: pocket}, far: {kind: openai, base_url: "http://127.0.0.1:9/v1"}}
candidates:
  - {name: quick, provider: pocket, model: nano-t0, budget: t0, price: {in: 0.1, out: 0.1}, quality: 0.4,
     max_output: 24, context_window: 160}
  - {name: thorough, provider: pocket, model: micro-t1, budget: t1, price: {in: 4, out: 4}, quality: 0.6,
     max_output: 24, context_window: 160}
  - {name: gone, provider: far, model: gone-1, price: {in: 9, out: 9}, quality: 0.5}
models: {auto: {candidates: [quick, thorough]}}
vector: [structure]
policy: {exploration: {kind: epsilon, rate: 0.8}}
shadow: {objective: {kind: weighted, quality: 1, cost: 1000000}}
execution: {retries: 0, backoff_s: 0}
guards: {health: {failures: 2, pause_s: 600, longest_s: 600}}
tenants: {acme: {budgets: [{window: total, soft_usd: 0.001, hard_usd: 1}]}}
server:
  reload_every_s: 86400
  keys:
    - {tenant: acme, key: "env:ACME_KEY"}
    - {tenant: ops, key: "env:OPS_KEY", role: admin}
"""
SECRETS = {"ACME_KEY": "sk-acme", "OPS_KEY": "sk-ops"}
AS_ACME, AS_OPS = ({"authorization": f"Bearer {secret}"} for secret in SECRETS.values())

Found = TypeVar("Found")


class Page:
    """One tab on one gateway."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver, self.url = driver, url

    def open(self, view: str) -> Page:
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/#/{view}")
        self.one("main .panel")
        return self

    def until(self, look: Callable[[], Found], what: str) -> Found:
        """What `look` finds, as soon as it finds something. What vanishes meanwhile is looked up again."""
        gone = (NoSuchElementException, StaleElementReferenceException)
        wait = WebDriverWait(self.driver, PATIENCE, ignored_exceptions=gone)
        found: Found = wait.until(lambda _: look(), f"never seen: {what}")
        return found

    def sign_in(self, secret: str) -> Page:
        """In the place where a key is asked for."""
        field = self.one("input[type=password]")
        field.clear()
        field.send_keys(secret, Keys.ENTER)
        return self

    def look_like(self, scheme: str, width: int, mobile: bool = False) -> None:
        """Another colour scheme and size; `""` and 0 as at first."""
        features = [{"name": "prefers-color-scheme", "value": scheme}] if scheme else []
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        if width:
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        else:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def drawn(self, css: str) -> bool:
        """Whether anything is painted on the canvas."""
        pixels = "arguments[0].getContext('2d').getImageData(0, 0, arguments[0].width, arguments[0].height).data"
        return bool(self.driver.execute_script(f"return {pixels}.some((value) => value)", self.one(css)))

    def all(self, css: str) -> list[Any]:
        return [element for element in self.driver.find_elements(By.CSS_SELECTOR, css) if element.is_displayed()]

    def one(self, css: str, text: str = "") -> Any:
        """The first visible element with `text` in it, once there is one."""
        return self.until(lambda: next((e for e in self.all(css) if text in e.text), None), f"{css} {text!r}")

    def press(self, *keys: str, holding: str = "") -> None:
        chain = webdriver.ActionChains(self.driver)
        chain = chain.key_down(holding).send_keys(*keys).key_up(holding) if holding else chain.send_keys(*keys)
        chain.perform()

    def tab_to(self, css: str, text: str = "") -> Any:
        """Press Tab until the focus is on such an element. It must be visible that it is there."""
        for _ in range(300):
            self.press(Keys.TAB)
            focused = self.driver.switch_to.active_element
            matches = self.driver.execute_script("return arguments[0].matches(arguments[1])", focused, css)
            if matches and text in focused.text:
                assert focused.value_of_css_property("outline-style") == "solid", f"the focus on {css} cannot be seen"
                return focused
        raise AssertionError(f"the Tab key never reaches {css} {text!r}")

    def complaints(self) -> list[str]:
        """What the browser logged as an error since the last look: exceptions, violated policies, failed requests."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture
def page(driver: Any, pocket_gateway: Gateway) -> Iterator[Page]:
    """The page over the pocket pool. Whatever a test does with it, the browser may not complain."""
    page = Page(driver, pocket_gateway.url)
    yield page
    assert page.complaints() == []


def ask(url: str, prompt: str = "Please add 47 to 85 for me.", headers: dict[str, str] | None = None) -> str:
    """Another client's request; its decision's id."""
    body = {"model": "auto", "messages": [{"role": "user", "content": prompt}]}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE)
    response.raise_for_status()
    return response.headers["x-interlock-id"]


def judge(url: str, decision: str, score: float, headers: dict[str, str] | None = None) -> None:
    body = {"id": decision, "score": score, "source": "verifier"}
    httpx.post(f"{url}/v1/feedback", json=body, headers=headers, timeout=PATIENCE).raise_for_status()


def said(url: str, path: str) -> Any:
    """What the API tells an operator."""
    return httpx.get(f"{url}{path}", headers=AS_OPS, timeout=PATIENCE).json()


def explained(url: str, decision: str) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{url}/v1/ledger/{decision}", timeout=PATIENCE).json()
    return document


def test_an_example_is_answered_explained_and_judged(page: Page) -> None:
    page.open("playground")
    page.one(".examples .chips button", "cups").click()
    example = page.one(".examples li button", "cup")
    prompt = example.text
    example.click()
    assert page.driver.find_element(By.CSS_SELECTOR, "textarea").get_attribute("value") == prompt

    decision = page.one(".answer .decision").get_attribute("aria-label").removeprefix("Decision ")
    facts = page.until(lambda: (f := explained(page.url, decision))["outcome"] and f, "the outcome in the ledger")
    assert page.one(".answer .tag").text == facts["outcome"]["candidate"]
    assert page.one(".answer .text").text
    shown = {cell.text.split()[0].removesuffix("chosen") for cell in page.all(".answer tbody th")}
    assert shown == {row["candidate"] for row in facts["decision"]["considered"]}

    page.one(".feedback button", "right").click()
    page.one(".feedback [role=status]", "recorded")
    assert [(one["source"], one["score"]) for one in explained(page.url, decision)["feedback"]] == [("page", 1.0)]
    page.one(".feedback button", "right").click()
    page.one(".feedback [role=status]", "withdrawn")
    assert explained(page.url, decision)["feedback"][-1]["revoked"]


def test_a_refusal_lists_every_reason(page: Page) -> None:
    page.open("playground")
    box = page.one("textarea")
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
    page.driver.execute_script(script, box, "Please add 47 to 85 for me. " * 400)
    page.one("form button.primary").click()
    page.one(".answer [role=alert]")
    page.one(".answer .decision h2", "Refused")
    reasons = page.all(".answer tr.out")
    assert reasons
    assert all("its window is" in row.text for row in reasons)
    assert [line for line in page.complaints() if "/v1/chat/completions" not in line] == []


def test_another_clients_decision_appears_without_reload(page: Page) -> None:
    page.open("decisions")
    page.one("[role=status]", "live")
    decision = ask(page.url)
    page.one(f"a[href='#/decisions/{decision}']").click()
    page.one(".opened-one .decision h2", "Why")
    page.until(lambda: page.all(".opened-one .facts") and "answered by" in page.one(".opened-one").text, "the outcome")
    judge(page.url, decision, 0.0)
    page.one(".opened-one .facts", "verifier")
    page.one("tr.chosen", "wrong")


def test_the_pool_lists_every_candidate(page: Page) -> None:
    models = httpx.get(f"{page.url}/v1/models", timeout=PATIENCE).json()["data"]
    expected = {model["id"] for model in models if not model["interlock"]["virtual"]}
    page.open("pool")
    page.one("tbody tr")
    assert {row.text.split("\n")[0] for row in page.all("tbody th")} == expected


def test_the_learning_curve_is_drawn_once_there_is_something_to_see(page: Page) -> None:
    for index in range(24):
        judge(page.url, ask(page.url, f"Please add {index} to 85 for me."), float(index % 2))
    page.open("learning")
    canvas = page.one(".plot canvas")
    assert canvas.size["width"] > 300
    assert page.drawn(".plot canvas")
    before = len(page.all("input:checked"))
    page.all("input[type=checkbox]:not(:checked)")[0].click()
    page.until(lambda: len(page.all("input:checked")) == before + 1 and page.all(".plot canvas"), "one more line")


def test_a_broken_reload_is_told_everywhere_and_the_old_configuration_serves_on(driver: Any, tmp_path: Path) -> None:
    path = tmp_path / "interlock.yaml"
    path.write_text(CONFIG)
    with gateway(tmp_path / "run", "--config", str(path), patience=PATIENCE) as running:
        page = Page(driver, running.url).open("system")
        page.one("main", "In force")
        path.write_text(CONFIG.replace("kind: greedy", "kind: greedi"))
        assert "greedy" in page.one("pre.error", "greedi").text  # the nearest valid name
        assert "interlock.yaml" in page.one("pre.error").text
        page.open("pool").one(".notice.bad", "refused")
        assert ask(running.url)
        path.write_text(CONFIG)
        page.until(lambda: not page.all(".notice.bad"), "the end of the notice")
        page.open("system").one("main", "In force")
        assert page.complaints() == []


def test_keyboard_alone_asks_judges_and_opens(page: Page) -> None:
    page.open("playground")
    page.tab_to("textarea")
    page.press("What is the sum of 12 and 30?")
    page.press(Keys.ENTER, holding=Keys.CONTROL)
    decision = page.one(".answer .decision").get_attribute("aria-label").removeprefix("Decision ")
    page.tab_to(".feedback button", "wrong")
    page.press(Keys.ENTER)
    page.one(".feedback [role=status]", "recorded")
    assert explained(page.url, decision)["feedback"][-1]["score"] == 0.0
    page.tab_to("nav a", "Decisions")
    page.press(Keys.ENTER)
    page.one(f"a[href='#/decisions/{decision}']")
    page.tab_to(f"a[href='#/decisions/{decision}']")
    page.press(Keys.ENTER)
    page.one(f".opened-one [aria-label='Decision {decision}']")


def test_every_control_has_a_name(page: Page) -> None:
    ask(page.url)
    for view in VIEWS:
        page.open(view)
        for control in page.all("button, input, select, textarea, a, summary"):
            assert control.accessible_name.strip(), f"{view}: {control.get_attribute('outerHTML')}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_scrolls_only_downwards(page: Page, scheme: str) -> None:
    decision = ask(page.url)
    page.look_like(scheme, 360, mobile=True)
    try:
        for view in [*VIEWS, f"decisions/{decision}"]:
            page.open(view)
            page.until(lambda: "Reading" not in page.one("main").text, "content")
            assert page.driver.execute_script("return document.documentElement.scrollWidth") == 360, view
    finally:
        page.look_like("", 0)


def test_a_gateway_with_keys_asks_for_one(driver: Any, hosted_gateway: Gateway) -> None:
    page = Page(driver, hosted_gateway.url).open("pool")
    page.one("input[type=password]").send_keys("sk-wrong", Keys.ENTER)
    page.one("[role=alert]", "key")
    field = page.one("input[type=password]")
    field.clear()
    field.send_keys("sk-ops", Keys.ENTER)
    page.one("tbody tr", "tooled")
    assert json.loads(driver.execute_script("return JSON.stringify(localStorage)")) == {}  # the key goes with the tab
    assert page.complaints() == []


@pytest.fixture(scope="module")
def steered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    """A gateway with keys, a shadow policy, a file that is loaded on demand only, and 120 judged decisions."""
    folder = tmp_path_factory.mktemp("steered")
    config = folder / "interlock.yaml"
    config.write_text(STEERED)
    with gateway(folder / "run", "--config", str(config), env=SECRETS, patience=PATIENCE) as running:
        for index in range(120):
            asker = (AS_ACME, AS_OPS)[index % 2]
            decision = ask(running.url, f"Please add {index} to 85 for me.", asker)
            thorough = said(running.url, f"/v1/ledger/{decision}")["decision"]["chosen"] == "thorough"
            judge(running.url, decision, float(thorough or index % 3 == 0), asker)
        for _ in range(3):
            body = {"model": "gone", "messages": [{"role": "user", "content": "Are you there?"}]}
            httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=AS_OPS, timeout=PATIENCE)
        yield running, config


@pytest.fixture
def operated(driver: Any, steered: tuple[Gateway, Path]) -> Iterator[Page]:
    """The page of an operator who has signed in."""
    page = Page(driver, steered[0].url).open("decisions")
    driver.execute_script("sessionStorage.setItem('interlock-key', arguments[0])", SECRETS["OPS_KEY"])
    yield page.open("decisions")
    assert page.complaints() == []


def test_a_link_to_a_decision_asks_for_a_key_and_then_opens_it(driver: Any, steered: tuple[Gateway, Path]) -> None:
    decision = ask(steered[0].url, headers=AS_ACME)
    page = Page(driver, steered[0].url).open("playground")
    driver.execute_script("sessionStorage.clear()")
    page.open(f"decisions/{decision}").one("form code", decision)
    page.sign_in("sk-nobodys").one("[role=alert]", "this key is not known here")
    page.sign_in(SECRETS["ACME_KEY"]).one(f".opened-one [aria-label='Decision {decision}']")
    assert [link.text.lower() for link in page.all("nav a")] == ["playground", "decisions", "budgets"]
    assert page.one(".identity").text.split()[:2] == ["acme", "viewer"]
    driver.refresh()
    page.one(f".opened-one [aria-label='Decision {decision}']")
    page.open("system").one("main h1", "system is for operators")
    page.one(".identity button", "Sign out").click()
    page.one("h1", "Sign in")
    assert driver.execute_script("return sessionStorage.length") == 0
    page.open(f"decisions/{decision}").sign_in(SECRETS["OPS_KEY"]).one(".opened-one .decision h2", "Why")
    assert len(page.all("nav a")) == len(VIEWS)
    assert page.complaints() == []


def test_the_shadow_is_compared_and_each_difference_can_be_opened(operated: Page) -> None:
    operated.open("shadow").one("h1", "Shadow policy")
    found = said(operated.url, "/v1/shadow")
    assert 0.0 < found["differs"]["mean"] < 1.0
    assert f"{found['differs']['mean']:.0%} " in operated.one(".lead").text
    operated.one(".measure:nth-child(2) p .good", "−$")  # it is cheaper
    assert operated.drawn(".timeline canvas")
    operated.one(".chips button", "tenant").click()
    assert {row.text for row in operated.all("section[aria-labelledby=groups] tbody th")} == {"acme", "ops"}
    operated.one("a[href^='#/decisions/']").click()
    operated.one(".decision p", "The shadow policy would have chosen quick")


def test_savings_have_an_interval_or_a_reason(operated: Page) -> None:
    operated.open("learning").one(".headline", "saved")
    found = said(operated.url, "/v1/savings")
    assert found["against"] == "thorough"
    assert 0.0 < found["saved"]["low"] < found["saved"]["mean"] < found["saved"]["high"]
    next(option for option in operated.all("section[aria-labelledby=savings] option") if option.text == "gone").click()
    operated.one("section[aria-labelledby=savings]", "It cannot be told yet")


def test_traffic_and_a_provider_that_is_down(operated: Page) -> None:
    operated.open("traffic").one("article[aria-label='Provider far'] .tag", "down")
    far = operated.one("article[aria-label='Provider far']").text
    assert "provider_unreachable" in far
    assert "gone open" in far
    assert operated.drawn("section[aria-labelledby=traffic] canvas")
    operated.one("article[aria-label='Provider pocket']", "healthy")


def test_the_file_is_compared_reloaded_and_refused(operated: Page, steered: tuple[Gateway, Path]) -> None:
    path = steered[1]
    operated.open("system").one("section[aria-labelledby=file]", "It says what serves.")
    path.write_text(STEERED.replace("rate: 0.8", "rate: 0.25"))
    row = operated.one("section[aria-labelledby=file] tbody tr", "policy.exploration.rate")
    assert [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "td")] == ["0.8", "0.25"]
    operated.one("button", "Reload").click()
    operated.one("section[aria-labelledby=file]", "reloaded, and in force")
    assert said(operated.url, "/v1/config")["settings"]["policy"]["exploration"]["rate"] == 0.25
    path.write_text(STEERED.replace("kind: epsilon", "kind: epsilom"))
    operated.one("section[aria-labelledby=file]", "It cannot be served.")
    operated.one("button", "Reload").click()
    error = operated.one("[role=alert] pre.error").text
    assert f"interlock.yaml:{STEERED.split('policy:')[0].count(chr(10)) + 1}: policy.exploration.kind" in error
    assert "did you mean 'epsilon'?" in error
    assert said(operated.url, "/v1/config")["settings"]["policy"]["exploration"]["rate"] == 0.25
    path.write_text(STEERED)
    operated.one("button", "Reload").click()
    operated.one("section[aria-labelledby=config]", "In force")


def test_budgets_are_what_is_counted_and_a_key_is_made_used_and_revoked(operated: Page) -> None:
    operated.open("budgets")
    row = operated.one("section[aria-labelledby=budgets] tbody tr", "acme")
    (budget,) = said(operated.url, "/admin/budgets")["budgets"]
    meter = row.find_element(By.CSS_SELECTOR, "[role=meter]")
    assert 0.001 < budget["used_usd"] == pytest.approx(float(meter.get_attribute("aria-valuenow")))
    assert "above soft" in row.text

    operated.one("summary", "New key").click()
    for name, text in {"Tenant": "globex", "Name": "batch", "Candidates": "quikc", "Hard, USD": "5"}.items():
        field = next(field for field in operated.all(".new input") if field.accessible_name == name)
        field.clear()
        field.send_keys(text)
    field.send_keys(Keys.ENTER)
    operated.one(".new [role=alert]", "did you mean 'quick'?")
    field = next(field for field in operated.all(".new input") if field.accessible_name == "Candidates")
    field.send_keys(Keys.BACKSPACE, Keys.BACKSPACE, "ck", Keys.ENTER)
    secret = operated.one(".secret code").text
    assert ask(operated.url, headers={"authorization": f"Bearer {secret}"})
    operated.one(".secret button", "I have it").click()
    row = operated.one("section[aria-labelledby=keys] tbody tr", "batch")
    assert secret not in operated.driver.page_source
    assert "$5.00 a day" in row.text

    operated.one("button[aria-label='Revoke batch']").click()
    operated.one("button", "Revoke for good").click()
    operated.one("section[aria-labelledby=keys] tr.out", "revoked")
    again = httpx.get(f"{operated.url}/v1/models", headers={"authorization": f"Bearer {secret}"}, timeout=PATIENCE)
    assert again.status_code == 401
    assert [line for line in operated.complaints() if "/admin/keys" not in line] == []  # the mistake, once


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "mobile"), [(1280, False), (390, True)])
def test_axe_finds_nothing_serious(operated: Page, scheme: str, width: int, mobile: bool) -> None:
    decision = ask(operated.url, headers=AS_OPS)
    operated.look_like(scheme, width, mobile)
    try:
        for view in [*VIEWS, f"decisions/{decision}"]:
            operated.open(view)
            operated.until(lambda: "Reading" not in operated.one("main").text, "content")
            if view == "playground":
                operated.one("textarea").send_keys("Please add 1 to 2.", Keys.CONTROL, Keys.ENTER)
                operated.one(".answer .decision")
            assert serious(operated) == [], view
        operated.one(".identity button").click()
        operated.one("h1", "Sign in")
        assert serious(operated) == []
    finally:
        operated.look_like("", 0)


def serious(page: Page) -> list[tuple[str, str]]:
    """Violations of serious or critical impact: the rule and the first element."""
    found = Axe().run(page.driver)["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
