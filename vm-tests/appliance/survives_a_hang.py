"""The watchdog restarts a service that hangs, and then gateways boot."""

image = make_gateway("lab-1")
publish("lab-1")
mine = identity("lab-1")
# A test waits less than a real farm.
override("farmgate.service", "[Service]\nWatchdogSec=6\n")
expect(200, "/g/1/boot.ipxe", mine)
host.wait_for_unit("farmgate.service")
before = host.get_unit_property("farmgate.service", "MainPID")

with subtest("a service that answers is left alone"):
    host.sleep(10)
    assert host.get_unit_property("farmgate.service", "MainPID") == before

with subtest("a service that hangs is ended and started again"):
    since = now()
    host.succeed("systemctl kill --signal=STOP farmgate.service")
    wait_for_journal(since, "Watchdog timeout")
    host.wait_until_succeeds(
        f"test $(systemctl show -P MainPID farmgate) != {before} && systemctl is-active farmgate",
        timeout=180,
    )

with subtest("a request that came meanwhile was answered, and a gateway boots"):
    expect(200, "/g/1/boot.ipxe", mine)
    boots(image, "lab-1")
