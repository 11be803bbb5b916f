"""A running Loadstar for tests of the public API; some begin one of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc_node import Loadstar, apply_example, running


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    """Loadstar without a network."""
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def example(loadstar: Loadstar) -> Loadstar:
    """Loadstar with the example network."""
    await apply_example(loadstar)
    return loadstar
