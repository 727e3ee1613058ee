"""The last published generation boots, until it is rolled back; neither needs a restart."""

from common.scenario import Scenario


def scenario(t: Scenario) -> None:
    with t.boot_host() as host:
        image = host.image("lab-1")
        host.publish("lab-1")
        with host.serving():
            with t.subtest("generation 1 boots"):
                t.boots(image, generation=1)
            with t.subtest("after another publish, generation 2 boots"):
                host.publish("lab-1")
                t.boots(image, generation=2)
            with t.subtest("after a rollback, generation 1 boots again"):
                host.farmgate("rollback", "lab-1")
                t.boots(image, generation=1)
