"""A gateway goes back to the last good generation if the new one never acknowledges, or after a rollback."""

TRIES = 3

image = make_gateway("lab-1")
publish("lab-1")
mine = identity("lab-1")

with subtest("generation 1 boots, and acknowledges"):
    boots(image, "lab-1", generation=1)

with subtest(f"generation 2, which never acknowledges, is given to {TRIES} boots"):
    publish_script("lab-1")
    for _ in range(TRIES):
        assert "/g/2/boot.ipxe" in expect(302, "/boot/ipxe", mine)

with subtest("then generation 1 boots again"):
    boots(image, "lab-1", generation=1)
    assert "generation 2 is bad" in farmgate("status lab-1")

with subtest("generation 3 is served until it is rolled back, and then generation 1"):
    publish_script("lab-1")
    assert "/g/3/boot.ipxe" in expect(302, "/boot/ipxe", mine)
    farmgate("rollback lab-1 1")
    assert "/g/1/boot.ipxe" in expect(302, "/boot/ipxe", mine)
