"""A certificate of another CA is refused, even if it contains a gateway's name."""

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
    # Sealing refuses it, so its slot is that of a medium of the other fleet.
    said = host.fail(f"farmgate iso seal /tmp/base.iso {foreign} -o /tmp/foreign.iso 2>&1")
    assert "did not issue the certificate" in said, said
    host.succeed(f"farmgate --state /tmp/stranger iso base -o /tmp/their-base.iso {PARTS} 2>&1")
    host.succeed(
        "farmgate --state /tmp/stranger iso seal /tmp/their-base.iso --gateway lab-1 "
        "-o /tmp/theirs.iso 2>&1",
        "cp /tmp/base.iso /tmp/foreign.iso",
        # Both slots have the same length; where they begin follows from what stands before.
        "begin() { grep -abo '# farmgate slot 1 begins' $1 | cut -d: -f1; }; "
        "end() { grep -abo '# farmgate slot 1 ends' $1 | cut -d: -f1; }; "
        "from=$(begin /tmp/theirs.iso); length=$(($(end /tmp/theirs.iso) - from)); "
        "dd if=/tmp/theirs.iso of=/tmp/foreign.iso bs=1 skip=$from count=$length "
        "seek=$(begin /tmp/foreign.iso) conv=notrunc 2>&1",
    )
    said = host.fail("farmgate iso verify /tmp/foreign.iso 2>&1")
    assert "did not issue its certificate" in said, said
    does_not_boot("/tmp/foreign.iso")
