"""Code that the scenarios share: processes, gateways in QEMU, the boot host, and reports.

Only the standard library is used, so that the tests need nothing but Debian's python3.
"""
