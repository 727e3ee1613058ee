"""If nginx's configuration has lost its header lines, nobody gets in, whatever headers they send."""

import urllib.parse

URL = f"{BOOT}:8443"
MADE = "/tmp/servers.conf"

for name in ("lab-1", "lab-2"):
    farmgate(f"gateway add {name}")
    publish_script(name)
mine, other = identity("lab-1"), identity("lab-2")
claim = urllib.parse.quote(host.succeed(f"cat {STATE}/gateways/lab-1/*.crt"))
forged = " ".join(
    "--header " + shlex.quote(f"{name}: {value}")
    for name, value in (("X-SSL-Client-Cert", claim), ("X-SSL-Client-Verify", "SUCCESS"))
)
paths = ("/boot/ipxe", "/g/1/boot.ipxe", "/files/boot.ipxe")
farmgate_config = f"farmgate nginx-config --listen {ADDRESS}:8443"

with subtest("with what `farmgate nginx-config` prints, a gateway gets its script"):
    host.succeed(f"{farmgate_config} >{MADE}")
    second_nginx(MADE)
    assert "the script of lab-1" in expect(200, "/g/1/boot.ipxe", mine, URL)
    refused(paths, forged, URL)

with subtest("without the header lines, a gateway with its certificate gets nothing"):
    host.succeed(
        f"{farmgate_config} | grep -v 'proxy_set_header  *X' >{MADE}",
        f"! grep X-SSL {MADE}",
    )
    second_nginx(MADE)
    refused(paths, mine, URL)

with subtest("without them, nobody gets in who sends them himself"):
    refused(paths, forged, URL)
    refused(paths, f"{mine} {forged}", URL)

with subtest("the system's own nginx still lets the gateway in"):
    assert "the script of lab-1" in expect(200, "/g/1/boot.ipxe", mine)

for line in ("X-SSL-Client-Verify", "X-SSL-Client-Cert"):
    with subtest(f"with the line of {line} alone missing, nobody gets in, and lab-2 not as lab-1"):
        host.succeed(f"{farmgate_config} | grep -v 'proxy_set_header  *{line}' >{MADE}")
        second_nginx(MADE)
        refused(paths, mine, URL)
        refused(paths, forged, URL)
        answer = ask("/g/1/boot.ipxe", f"{other} {forged}", URL)[1]
        assert "the script of lab-1" not in answer, answer
