"""If another service holds a socket, the message names the address, and nothing else breaks."""

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
expect(200, "/g/1/boot.ipxe", mine)

with subtest("farmgate-tls.socket, where nginx has the port: systemd names the address"):
    # systemd does not add a socket to a running service.
    host.succeed("systemctl stop farmgate.service 2>&1")
    since = now()
    host.fail("systemctl start farmgate-tls.socket 2>&1")
    said = journal(since)
    assert ":443" in said and "Address already in use" in said, said
    host.succeed("systemctl reset-failed farmgate-tls.socket")

with subtest("`farmgate serve` on the same port: one line names the address"):
    status, said = host.execute(f"timeout 20 farmgate --quiet serve --tls {ADDRESS}:443 2>&1")
    assert status == 1, f"status {status}: {said}"
    assert f"{ADDRESS}:443" in said and "in use" in said, said

with subtest(
    "`farmgate serve` with the service's Unix socket: it is refused, and the service keeps it"
):
    status, said = host.execute("timeout 20 farmgate --quiet serve --unix /run/farmgate.sock 2>&1")
    assert status == 1, f"status {status}: {said}"
    assert "/run/farmgate.sock" in said, said

with subtest("gateways are served all the while"):
    assert "the script of lab-1" in expect(200, "/g/1/boot.ipxe", mine)
