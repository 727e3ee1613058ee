"""After a power cut of the boot host, a gateway boots without anybody's help."""

image = make_gateway("lab-1")
publish("lab-1")
mine = identity("lab-1")

with subtest("a gateway is served before"):
    expect(302, "/boot/ipxe", mine)
    # Data may reach the disk a moment after the answer, as on any machine.
    host.succeed("sync")

with subtest("the power is cut, and comes back"):
    host.crash()
    host.start()
    host.wait_for_unit("multi-user.target")

with subtest("the sockets and nginx are there, and the service waits for a request"):
    for unit in ("farmgate.socket", "farmgate-admin.socket", "nginx.service"):
        host.wait_for_unit(unit)
    assert host.systemctl("is-active farmgate.service")[1].strip() in ("inactive", "active")

with subtest("a gateway boots, and acknowledges"):
    boots(image, "lab-1")

with subtest("what the boot before the power cut was is still known"):
    shown = farmgate("status lab-1")
    assert "lab-1" in shown and "acknowledged" in shown, shown
