"""What a doctor says of machines and links that are not as they should be."""

from dataclasses import replace

import pytest
from training import invoked

from daskgnn.cli.doctor import in_words
from daskgnn.train import doctor
from daskgnn.train.doctor import HERE, Diagnosis, Link
from daskgnn.train.machine import examine_machine

GIB = 2**30
FINE = {"threads": 2, "memory_limit": 2 * GIB, "nanny": True}


@pytest.fixture(scope="module")
def machine():
    return replace(examine_machine(), host="a", unset=(), memory=8 * GIB)


def workers(machine, **changed):
    """Return two workers, the second one with other facts."""
    machines = {HERE: machine, "tcp://a:1": machine, "tcp://a:2": machine}
    told = {"tcp://a:1": FINE, "tcp://a:2": {**FINE, **changed}}
    return Diagnosis(machines, told)


def test_a_machine_knows_its_versions_and_measures(machine):
    assert machine.versions["torch"] != "missing"
    assert machine.speed.keys() == {"bf16", "medium", "fp16"}
    assert all(ratio > 0 for ratio in machine.speed.values())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"threads": 1}, "--nthreads 2"),
        ({"nanny": False}, "has no nanny"),
        ({"memory_limit": 0}, "--memory-limit"),
        ({"memory_limit": 7 * GIB}, "may use 9.0 GiB together, and it has 8.0"),
    ],
)
def test_workers(machine, changed, said):
    found = list(doctor._wrong_workers(workers(machine, **changed)))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_what_differs_is_named_with_who_has_it(machine):
    other = replace(
        machine, versions=machine.versions | {"torch": "1.0"}, capability="NONE"
    )
    found = list(doctor._unlike(workers(machine).machines | {"tcp://a:2": other}))
    assert len(found) == 2
    assert "versions of torch differ" in found[0]
    assert "1.0: tcp://a:2" in found[0]
    assert "NONE: tcp://a:2" in found[1]


def test_memory_that_is_given_back(machine):
    found = workers(machine)
    found.machines["tcp://a:2"] = replace(machine, unset=("MALLOC_ARENA_MAX",))
    (said,) = doctor._wrong_workers(found)
    assert said.startswith("tcp://a:2 gives freed memory back")


def test_slow_links_are_named_and_many_are_summed_up(machine):
    links = [Link("a", "b", 1e-3, 1e9), Link("a", "c", 2e-3, 12.5e6)]
    (said,) = doctor._slow_links(links)
    assert "1 of 2 links" in said
    assert "from a to c, carries 12.5 MB/s" in said
    found = workers(machine)
    found.links = 6 * links
    assert "12 links: 1.00 to 2.00 ms there and back" in in_words(found)


def test_this_machine_alone(tmp_path):
    done = invoked("doctor", "--store", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "fix: " in done.stdout
    assert "tcp://a:1" not in done.stdout
    done = invoked("doctor", "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert "nothing listens" in done.stderr
