"""A reload applies valid settings, and keeps the old ones if the new ones are wrong; no connection breaks."""

CRT = f"{STATE}/pki/server.crt"

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
host.succeed("systemctl stop nginx.service farmgate.socket farmgate.service 2>&1")
host.succeed("systemctl start farmgate-tls.socket 2>&1")


def served() -> str:
    """The fingerprint of the certificate that the service shows."""
    connect = f"openssl s_client -connect {ADDRESS}:443 -servername boot.farmgate.test"
    return host.succeed(
        f"{connect} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256"
    )


def on_disk() -> str:
    return host.succeed(f"openssl x509 -noout -fingerprint -sha256 -in {CRT}")


with subtest("the service shows the certificate that is there"):
    expect(200, "/g/1/boot.ipxe", mine)
    assert served() == on_disk()
    first, pid = served(), host.get_unit_property("farmgate.service", "MainPID")

with subtest("it takes up a new certificate by a reload, and not before"):
    farmgate("pki renew --san other.farmgate.test")
    assert served() == first != on_disk()
    reload()
    second = on_disk()
    assert served() == second != first

with subtest("a certificate that is none: `systemctl reload` fails, and the old one stays"):
    host.succeed(f"cp -p {CRT} /tmp/good.crt && echo rubbish >{CRT}")
    host.fail("systemctl reload farmgate.service 2>&1")
    assert served() == second
    expect(200, "/g/1/boot.ipxe", mine)

with subtest("the same by a bare SIGHUP: the journal says what is wrong"):
    since = now()
    host.succeed(f"kill -HUP {pid}")
    wait_for_journal(since, "not reloaded")
    said = journal(since)
    assert "server.crt" in said, said
    assert served() == second
    expect(200, "/g/1/boot.ipxe", mine)

with subtest("systemd saw the reloads, and the service never ended"):
    assert host.get_unit_property("farmgate.service", "ActiveState") == "active"
    assert host.get_unit_property("farmgate.service", "SubState") == "running"
    assert host.get_unit_property("farmgate.service", "MainPID") == pid

with subtest("when it is mended, a reload works again"):
    host.succeed(f"cat /tmp/good.crt >{CRT}")
    reload()
    assert served() == second
    expect(200, "/g/1/boot.ipxe", mine)
