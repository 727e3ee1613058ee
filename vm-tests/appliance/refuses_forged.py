"""A gateway is identified by its handshake with nginx, whatever headers it sends."""

import urllib.parse

for name in ("lab-1", "lab-2"):
    farmgate(f"gateway add {name}")
    publish_script(name)
host.succeed(
    f"farmgate --state /tmp/stranger init --url {BOOT} 2>&1",
    "farmgate --state /tmp/stranger gateway add lab-2 2>&1",
)
first, second = identity("lab-1"), identity("lab-2")
claim = urllib.parse.quote(host.succeed(f"cat {STATE}/gateways/lab-2/*.crt"))
cert, verify = "X-SSL-Client-Cert", "X-SSL-Client-Verify"
forgeries = {
    "headers": ((cert, claim), (verify, "SUCCESS")),
    "headers in lower case": ((cert.lower(), claim), (verify.lower(), "SUCCESS")),
    "headers with underscores": (
        (cert.replace("-", "_"), claim),
        (verify.replace("-", "_"), "SUCCESS"),
    ),
    "headers sent twice": ((cert, claim), (verify, "SUCCESS")) * 2,
    "the certificate alone": ((cert, claim),),
    "headers named in Connection": (
        (cert, claim),
        (verify, "SUCCESS"),
        ("Connection", f"close, {cert}, {verify}"),
    ),
}
# Without a certificate, and with another CA's. The third who tries is lab-1.
strangers = ("", identity("lab-2", state="/tmp/stranger"))

with subtest("lab-2's own certificate gets lab-2's script"):
    assert "the script of lab-2" in expect(200, "/g/1/boot.ipxe", second)

for how, pairs in forgeries.items():
    options = " ".join("--header " + shlex.quote(f"{name}: {value}") for name, value in pairs)
    with subtest(f"nobody becomes lab-2 by sending {how}"):
        for stranger in strangers:
            refused(("/boot/ipxe", "/g/1/boot.ipxe"), f"{stranger} {options}")
        answer = ask("/g/1/boot.ipxe", f"{first} {options}")[1]
        assert "the script of lab-2" not in answer, answer
