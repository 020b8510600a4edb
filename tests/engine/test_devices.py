"""What stays loaded: budgets of the device and the host, oldest out first, and back again."""

from typing import Any

from engine.devices import Devices


class Thing:
    """Stands for a model of some bytes; remembers where it was brought."""

    def __init__(self, nbytes: int = 10) -> None:
        self.nbytes, self.places = nbytes, list[str]()


def hold(devices: Devices, name: str, nbytes: int = 10, *, moves: bool = True) -> Thing:
    def move(thing: Thing, device: str) -> None:
        thing.places.append(device)

    more: dict[str, Any] = {"move": move} if moves else {}
    return devices.held(name, lambda: Thing(nbytes), lambda thing: thing.nbytes, **more)


def test_the_oldest_waits_on_the_host_and_comes_back_unbuilt() -> None:
    devices = Devices("cuda", budget=20, host_budget=100)
    a, b = hold(devices, "a"), hold(devices, "b")
    hold(devices, "c")
    assert (a.places, b.places) == (["cpu"], [])
    assert devices.nbytes() == (20, 10)
    assert hold(devices, "a") is a
    assert (a.places, b.places) == (["cpu", "cuda"], ["cpu"])


def test_what_is_used_stays() -> None:
    devices = Devices("cuda", budget=20, host_budget=100)
    a = hold(devices, "a")
    b = hold(devices, "b")
    hold(devices, "a")
    hold(devices, "c")
    assert (a.places, b.places) == ([], ["cpu"])


def test_beyond_the_hosts_budget_it_is_let_go() -> None:
    devices = Devices("cuda", budget=10, host_budget=15)
    a = hold(devices, "a")
    hold(devices, "b")
    hold(devices, "c")
    assert devices.nbytes() == (10, 10)
    assert hold(devices, "a") is not a


def test_what_cannot_be_moved_is_let_go() -> None:
    devices = Devices("cuda", budget=10, host_budget=100)
    a = hold(devices, "a", moves=False)
    hold(devices, "b")
    assert devices.nbytes() == (10, 0)
    assert hold(devices, "a") is not a


def test_on_a_cpu_there_is_no_second_place() -> None:
    devices = Devices("cpu", budget=10, host_budget=100)
    hold(devices, "a")
    hold(devices, "b")
    assert devices.nbytes() == (10, 0)


def test_freeing_keeps_on_the_host_what_can_wait_there() -> None:
    devices = Devices("cuda", budget=100, host_budget=100)
    a = hold(devices, "a")
    hold(devices, "b", moves=False)
    assert devices.free() == 20
    assert devices.nbytes() == (0, 10)
    assert hold(devices, "a") is a


def test_one_that_is_larger_than_the_budget_is_held_alone() -> None:
    devices = Devices("cuda", budget=5, host_budget=100)
    hold(devices, "a")
    b = hold(devices, "b", 50)
    assert devices.nbytes() == (50, 10)
    assert hold(devices, "b") is b
