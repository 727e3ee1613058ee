"""With `nginx.enable = false`, farmgate's own TLS serves gateways, and there is no nginx."""

image = make_gateway("lab-1")
publish("lab-1")
mine = identity("lab-1")

with subtest("there is no nginx, and the socket for gateways listens"):
    host.fail("pgrep -x nginx")
    host.wait_for_unit("farmgate-tls.socket")
    assert host.systemctl("is-active farmgate.service")[1].strip() == "inactive"

with subtest("the first handshake starts the service, and it has no network of its own"):
    expect(302, "/boot/ipxe", mine)
    host.wait_for_unit("farmgate.service")
    assert host.get_unit_property("farmgate.service", "PrivateNetwork") == "yes"

with subtest("a gateway boots, and acknowledges"):
    boots(image, "lab-1")

with subtest("nobody gets in without a certificate"):
    refused(("/boot/ipxe", "/g/1/boot.ipxe"))

with subtest("doctor finds no error"):
    farmgate("doctor")
