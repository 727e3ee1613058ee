"""A certificate of another CA gets nothing, even with a gateway's name in it."""

farmgate("gateway add lab-1")
publish_script("lab-1")
farmgate(f"iso base -o /tmp/base.iso {PARTS}")
# Another fleet, which has a gateway of the same name.
host.succeed(
    f"farmgate --state /tmp/stranger init --url {BOOT} 2>&1",
    "farmgate --state /tmp/stranger gateway add lab-1 2>&1",
)
paths = ("/boot/ipxe", "/g/1/boot.ipxe", "/files/boot.ipxe")
mine, foreign = identity("lab-1"), identity("lab-1", state="/tmp/stranger")

with subtest("our CA's certificate gets its script"):
    assert "the script of lab-1" in expect(200, "/g/1/boot.ipxe", mine)

with subtest("another CA's certificate gets nothing"):
    refused(paths, foreign)

with subtest("nor does a caller without a certificate"):
    refused(paths)

with subtest("a gateway that trusts this host, with an identity of the other fleet, does not boot"):
    farmgate(f"iso seal /tmp/base.iso {foreign} -o /tmp/foreign.iso")
    does_not_boot("/tmp/foreign.iso")
