"""Fixtures of the server's tests."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from engine.registry import Registry, installed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.server.database_server import Database


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The installed nodes, imported once: that takes seconds."""
    return installed()


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A real browser, for the tests of one module."""
    from tests.server.browsing import browser  # other tests need no Playwright

    with browser() as found:
        yield found


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Database]":
    """A real PostgreSQL."""
    from tests.server.database_server import running  # other tests need no database

    with running() as database:
        yield database
