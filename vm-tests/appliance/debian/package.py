"""The Debian package installs, upgrades under load, and leaves the fleet's state when it is removed."""

DEB = f"{TEST}/farmgate.deb"

image = make_gateway("lab-1")
publish("lab-1")
mine = identity("lab-1")
units = "farmgate.socket farmgate-tls.socket farmgate-admin.socket farmgate.service"

with subtest("it is installed whole, and its files are as they were packed"):
    assert host.succeed("dpkg-query -W -f '${Status}' farmgate") == "install ok installed"
    assert host.succeed("dpkg --verify farmgate").strip() == ""
    host.succeed("farmgate --version")
    assert "farmgate" in host.succeed("getent passwd farmgate")

with subtest("an upgrade during downloads fails none of them, and runs the new program"):
    expect(200, "/g/1/boot.ipxe", mine)
    before = host.get_unit_property("farmgate.service", "MainPID")
    host.succeed(
        "mkdir /tmp/downloads",
        # Small buffers, so that what is not fetched yet is not sent yet either.
        "sysctl --quiet net.ipv4.tcp_rmem='4096 32768 65536' net.ipv4.tcp_wmem='4096 32768 65536'",
        f"(curl --silent --fail --parallel --parallel-immediate --cacert {CA} {mine} --range 0-2999999 "
        "--limit-rate 60k --output '/tmp/downloads/#1' --write-out '%{exitcode} %{errormsg}\\n' "
        f"'{BOOT}/g/1/vmlinuz#[1-10]' >/tmp/results || true; touch /tmp/over) >/dev/null 2>&1 &",
        "until test $(find /tmp/downloads -size +8k | wc -l) = 10; do sleep 0.2; done",
        f"test ! -s /tmp/results && dpkg --install {DEB} 2>&1",
    )
    assert host.get_unit_property("farmgate.service", "MainPID") != before, "the old one still runs"
    host.wait_for_file("/tmp/over")
    results = host.succeed("sort /tmp/results | uniq -c")
    assert results.split() == ["10", "0"], results
    expect(200, "/g/1/boot.ipxe", mine)

with subtest("when it is removed, nothing of it runs or is enabled, and the state stays"):
    sums = f"cd {STATE} && find . -type f -not -name lock | sort | xargs sha256sum"
    host.succeed("systemctl stop farmgate.service 2>&1")
    state = host.succeed(sums)
    host.succeed("dpkg --remove farmgate 2>&1")
    for unit in units.split():
        assert host.systemctl(f"is-active {unit}")[1].strip() != "active", unit
    host.fail("command -v farmgate")
    host.fail("find /etc/systemd/system -name 'farmgate*.socket' | grep .")
    assert host.succeed(sums) == state

with subtest("when it is purged, the state stays too, and it says so"):
    host.succeed(f"dpkg --install {DEB} 2>&1")
    assert STATE in host.succeed("dpkg --purge farmgate 2>&1")
    assert host.succeed(sums) == state

with subtest("installed again it enables nothing by itself"):
    host.succeed(f"dpkg --install {DEB} 2>&1")
    for unit in units.split():
        assert host.systemctl(f"is-enabled {unit}")[1].strip() == "disabled", unit
        assert host.systemctl(f"is-active {unit}")[1].strip() == "inactive", unit

with subtest("with the sockets enabled again, the old fleet boots"):
    host.succeed("systemctl enable --now farmgate.socket farmgate-admin.socket 2>&1")
    boots(image, "lab-1")
