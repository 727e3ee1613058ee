"""What NixOS's driver gives to the scripts here and in the folder above, and to nixos_gateway.py.

Only mypy reads this. `host` has the words that both drivers have; NixOS checks against its own types once more
when it builds a test.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from common.console import console_text as console_text
from common.debian_host import LanGateway
from common.machine import Machine

class NixosMachine(Machine):
    shared_dir: Path

host: NixosMachine
driver: Any
create_machine: Any

def gateway(
    image: str, firmware: str = "uefi", medium: str = "cd", memory: int = 512, drive: str = ""
) -> LanGateway: ...
def subtest(sentence: str) -> AbstractContextManager[None]: ...
