"""The service is hardened: `systemd-analyze security` gives it an exposure of 1.5 or below."""

farmgate("gateway add lab-1")
publish_script("lab-1")

with subtest("the service works with all of it in force"):
    expect(302, "/boot/ipxe", identity("lab-1"))
    host.wait_for_unit("farmgate.service")

with subtest("systemd-analyze security rates it 1.5 or below"):
    rated = host.succeed("systemd-analyze security --no-pager --threshold=15 farmgate.service 2>&1")
    score = rated.strip().splitlines()[-1]
    print(f"       {score.encode('ascii', 'replace').decode()}")

with subtest("systemd has nothing to say against the units"):
    units = "farmgate.service farmgate.socket farmgate-tls.socket farmgate-admin.socket"
    # It also reads the units that ours name, and reports about these too.
    said = host.execute(f"systemd-analyze verify --man=no {units} 2>&1")[1]
    complaints = [line for line in said.splitlines() if "farmgate" in line]
    assert not complaints, complaints

with subtest("it has no network of its own, is nobody, and can write its state alone"):
    pid = host.get_unit_property("farmgate.service", "MainPID")
    ours = host.succeed("readlink /proc/self/ns/net")
    assert host.succeed(f"readlink /proc/{pid}/ns/net") != ours, "it has the host's network"
    assert host.succeed(f"stat -c %U /proc/{pid}").strip() == "farmgate"
    capabilities = host.succeed(f"grep -E '^Cap(Prm|Eff|Bnd|Amb)' /proc/{pid}/status").split()[1::2]
    assert all(int(value, 16) == 0 for value in capabilities), capabilities
    for path in ("/etc", "/usr", "/boot", "/var/log", "/root"):
        host.fail(f"nsenter --target {pid} --mount touch {path}/farmgate-was-here 2>&1")
    host.succeed(f"nsenter --target {pid} --mount touch {STATE}/probe && rm {STATE}/probe")
    # Root decides what media trust: the server can neither write nor replace these.
    assert host.succeed(f"stat -c %U {STATE}/pki {STATE}/cache").split() == ["root", "root"]
    for folder in (f"{STATE}/pki", f"{STATE}/cache"):
        host.fail(f"nsenter --target {pid} --mount touch {folder}/farmgate-was-here 2>&1")
        host.fail(f"nsenter --target {pid} --mount mv {folder} {folder}-away 2>&1")
