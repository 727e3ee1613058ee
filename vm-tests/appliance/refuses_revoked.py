"""A revoked certificate is refused from that moment on, and a gateway with it does not boot."""

image = make_gateway("lab-1")
publish("lab-1")
farmgate("gateway add lab-2")
publish_script("lab-2")
first, second = identity("lab-1"), identity("lab-2")
paths = ("/boot/ipxe", "/g/1/boot.ipxe", "/g/1/vmlinuz", "/files/vmlinuz")

with subtest("the gateway boots before"):
    boots(image, "lab-1")

with subtest("its certificate is refused a second after the revocation, without any reload"):
    expect(200, "/g/1/boot.ipxe", first)
    farmgate("gateway revoke lab-1")
    host.sleep(1)
    refused(paths, first)

with subtest("its image does not boot any more"):
    does_not_boot(image)

with subtest("after a reload nginx refuses it too, by its own CRL"):
    host.succeed("systemctl reload nginx 2>&1")
    host.sleep(1)
    assert "SSL certificate error" in expect(400, "/boot/ipxe", first)
    refused(paths, first)

with subtest("another gateway gets its script all the while"):
    assert "the script of lab-2" in expect(200, "/g/1/boot.ipxe", second)
