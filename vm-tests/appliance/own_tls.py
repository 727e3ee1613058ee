"""Without nginx the service speaks mutual TLS itself, through systemd's socket, and gateways boot."""

image = make_gateway("lab-1")
publish("lab-1")
farmgate("gateway add lab-2")
publish_script("lab-2")
second = identity("lab-2")
host.succeed("systemctl stop nginx.service farmgate.socket farmgate.service 2>&1")
host.succeed("systemctl start farmgate-tls.socket 2>&1")

with subtest("the first handshake starts the service"):
    assert host.systemctl("is-active farmgate.service")[1].strip() == "inactive"
    assert "the script of lab-2" in expect(200, "/g/1/boot.ipxe", second)
    host.wait_for_unit("farmgate.service")

with subtest("a gateway boots, and acknowledges"):
    boots(image, "lab-1", firmware="uefi", medium="cd")

with subtest("headers about a certificate are worth nothing here, and nobody is nobody"):
    headers = "--header 'X-SSL-Client-Verify: SUCCESS' --header 'X-SSL-Client-Cert: x'"
    for options in ("", headers):
        refused(("/boot/ipxe", "/g/1/boot.ipxe"), options)
    assert "the script of lab-2" in expect(200, "/g/1/boot.ipxe", f"{second} {headers}")

with subtest("a revoked certificate is refused at once"):
    farmgate("gateway revoke lab-2")
    host.sleep(1)
    refused(("/boot/ipxe", "/g/1/boot.ipxe"), second)
