"""Fixtures of the server's tests."""

import pytest

from engine.registry import Registry, installed


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The installed nodes, imported once: that takes seconds."""
    return installed()
