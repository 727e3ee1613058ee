"""What the scenarios share: processes, gateways in QEMU, the boot host, and how results are told.

Only the standard library is used, so that the tests need nothing but Debian's python3.
"""
