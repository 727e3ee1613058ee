"""What run-appliance gives to the scripts here and in the folder above (vm-tests/README.md). Only mypy reads this."""

from contextlib import AbstractContextManager

from common.debian_host import LanGateway
from common.machine import Machine

host: Machine

def gateway(image: str, firmware: str = "uefi", medium: str = "cd") -> LanGateway: ...
def subtest(sentence: str) -> AbstractContextManager[None]: ...
def bring(program: str) -> str: ...
