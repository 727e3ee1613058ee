"""Old media with RSA key exchange are served on their own port, and on no other."""

MAIN, LEGACY = 8443, 8444

farmgate("gateway add lab-1")
publish_script("lab-1")
mine = identity("lab-1")
host.succeed(
    f"farmgate nginx-config --listen {ADDRESS}:{MAIN} --legacy-listen {ADDRESS}:{LEGACY} "
    ">/tmp/servers.conf"
)
second_nginx("/tmp/servers.conf")


def old_client(port: int, cipher: str) -> tuple[int, str]:
    """A request as iPXE of 2022 makes it: TLS 1.2 with RSA key exchange."""
    options = mine.replace("--cert ", "-cert ").replace("--key ", "-key ")
    lines = ("GET /g/1/boot.ipxe HTTP/1.1", "Host: boot.farmgate.test", "Connection: close", "", "")
    request = "printf '" + "\\r\\n".join(lines) + "'"
    return host.execute(
        f"({request}; sleep 2) | openssl s_client -connect {ADDRESS}:{port} "
        f"-servername boot.farmgate.test -CAfile {CA} -verify_return_error -tls1_2 "
        f"-cipher {cipher} {options} -ign_eof 2>&1"
    )


for cipher in ("AES256-SHA", "AES128-SHA", "AES256-SHA256"):
    with subtest(f"a gateway with {cipher} gets its script on the port for old media"):
        said = old_client(LEGACY, cipher)[1]
        assert f"Cipher is {cipher}" in said and "the script of lab-1" in said, said

    with subtest(f"{cipher} is refused on the ports for all others"):
        for port in (443, MAIN):
            said = old_client(port, cipher)[1]
            assert "handshake failure" in said and "the script of lab-1" not in said, said

with subtest("a gateway of today gets its script on the main port"):
    options = f"{mine} --tls-max 1.2 --ciphers ECDHE-RSA-AES128-GCM-SHA256"
    assert "the script of lab-1" in expect(200, "/g/1/boot.ipxe", options, f"{BOOT}:{MAIN}")

with subtest("on the port for old media too, nobody gets in without a certificate"):
    refused(
        ("/boot/ipxe", "/g/1/boot.ipxe"), "--tls-max 1.2 --ciphers AES256-SHA", f"{BOOT}:{LEGACY}"
    )
