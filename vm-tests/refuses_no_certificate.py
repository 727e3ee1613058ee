"""A medium without an identity boots nothing: its slot is empty."""


def scenario(t):
    with t.boot_host() as host:
        sealed = host.image("lab-1")
        empty = host.base_image()
        host.publish("lab-1")
        with host.serving():
            with t.subtest("the sealed image boots"):
                t.boots(sealed)
            with t.subtest("the base image does not boot"):
                t.does_not_boot(host, empty)
