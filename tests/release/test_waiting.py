"""A second release waits for the first, as long as it may, and then says who holds the lock."""

import threading

import pytest

from mlops_pipelines.errors import BusyError
from mlops_pipelines.release.move import Deployment
from mlops_pipelines.release.rollout import release, when_free
from tests.release.conftest import World


def test_it_waits_and_then_goes_on(world: World) -> None:
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with world.target.lock(world.spec.name, "the first"):
            held.set()
            free.wait(30)

    first = threading.Thread(target=hold)
    first.start()
    held.wait(30)

    def second() -> Deployment:
        books = (world.registry, world.store, world.target, world.spec)
        return release(*books, 1, "the second")

    with pytest.raises(BusyError, match="the first"):
        when_free(second, 0)
    threading.Timer(0.3, free.set).start()
    assert when_free(second, 30).version == 1
    first.join()
