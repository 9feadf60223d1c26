"""A page of the console, as a person meets it: wait for what is seen, press, type, click."""

from __future__ import annotations

from collections.abc import Callable

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 20


class Page:
    """The console at an address, in a browser."""

    def __init__(self, driver: WebDriver, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, hash: str) -> None:
        """Go to a page anew, as if its address had been sent by someone."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}/{hash}")

    @property
    def hash(self) -> str:
        """What the address bar has behind the path."""
        return str(self.driver.execute_script("return location.hash"))

    def wait(self, condition: Callable[[], object]) -> None:
        """Until it holds."""
        WebDriverWait(self.driver, WAIT_S, 0.05, [StaleElementReferenceException]).until(lambda _: condition())

    def all(self, selector: str) -> list[WebElement]:
        """What is there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The first, once it is there."""
        self.wait(lambda: self.all(selector))
        return self.all(selector)[0]

    def texts(self, selector: str) -> list[str]:
        """Of all that is there."""
        return [str(self.driver.execute_script("return arguments[0].innerText", one)) for one in self.all(selector)]

    def text(self, selector: str) -> str:
        """Of the first, once it is there."""
        self.one(selector)
        return self.texts(selector)[0]

    def see(self, selector: str, text: str = "") -> None:
        """Wait until one of these holds a text."""
        try:
            self.wait(lambda: any(text in one for one in self.texts(selector)))
        except Exception as error:
            raise AssertionError(f"no {selector} with {text!r}; there are {self.texts(selector)[:9]}") from error

    def settle(self) -> None:
        """Until nothing is loading."""
        self.wait(lambda: not self.all(".waiting"))

    def press(self, key: str) -> None:
        """Whatever has the focus gets it."""
        ActionChains(self.driver).send_keys(key).perform()

    def type(self, text: str) -> None:
        """Letter by letter."""
        for letter in text:
            self.press(letter)

    def click(self, selector: str) -> None:
        """The first, once it can be clicked."""
        self.wait(lambda: self.all(selector) and self.all(selector)[0].is_displayed())
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", self.all(selector)[0])
        self.all(selector)[0].click()

    def expect_no_fault(self, but: str | None = None) -> None:
        """No error was logged by the browser: no script failed, nothing was refused by the policy."""
        logged = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        faults = [one for one in logged if not (but and but in one) and "trusted" not in one.lower()]
        assert not faults, faults
