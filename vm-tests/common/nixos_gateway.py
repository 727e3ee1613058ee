# The NixOS test driver's side of the scenarios: a gateway is one more machine on the host's network.
# ../default.nix fills in the text between @ signs.
import os
import shutil
import time
from shlex import join as shell_words
from shlex import quote as shell_word
from typing import Any


class Gateway:
    """A machine of the driver with the few words that the scenarios have for one without a shell."""

    # The driver calls the machine's class differently from release to release.
    def __init__(self, machine: Any) -> None:
        # Added so that the driver ends it with the others. `driver.machines` is a copy.
        driver.machines_qemu.append(machine)
        self.start = machine.start
        self.crash = machine.crash
        self.wait_for_shutdown = machine.wait_for_shutdown
        self._shown = machine.get_console_log

    def get_console_log(self) -> str:
        return console_text(self._shown())

    def wait_for_console_text(self, regex: str, timeout: int = 120) -> None:
        """Waits until this is anywhere in what the console showed since power-on.

        The driver's own looks at one line in a second, and a kernel has hundreds.
        """
        for _ in range(timeout):
            if re.search(regex, self.get_console_log()):
                return
            time.sleep(1)
        raise TimeoutError(f"no {regex!r} on the console in {timeout} s")


made: list[Gateway] = []


def gateway(
    image: str,
    firmware: str = "uefi",
    medium: str = "cd",
    memory: int = 512,
    drive: str = "",
) -> Gateway:
    """A machine that starts from the boot image at this path on the host; not started yet.

    `drive` is the size of a blank disk that it has besides ("64M"), the same for all that ask for one.
    """
    number = len(made)
    # By the folder that all machines share: a sealed image holds a key, and must not get into the
    # test's output as what the driver itself copies does.
    host.succeed(f"cp --no-preserve=mode {shell_word(image)} /tmp/shared/gateway{number}.iso")
    file = host.shared_dir / f"gateway{number}.iso"
    words = ["@qemu@", "-m", str(memory), "-nodefaults", "-display", "none"]
    # Without graphics SeaBIOS, and with it iPXE, writes its screen to the serial port too.
    words += ["-machine", "pc,accel=kvm:tcg,graphics=off"]
    words += ["-drive", f"if=none,id=medium,file={file},format=raw,readonly=on"]
    if medium == "cd":
        words += ["-device", "ide-cd,drive=medium,bootindex=0"]
    else:
        words += ["-device", "qemu-xhci"]
        words += ["-device", "usb-storage,drive=medium,bootindex=0,removable=on"]
    if drive:
        host.succeed(f"test -e /tmp/shared/drive || truncate --size={drive} /tmp/shared/drive")
        words += ["-drive", f"if=none,id=drive,file={host.shared_dir / 'drive'},format=raw"]
        words += ["-device", "virtio-blk-pci,drive=drive,serial=cache"]
    if firmware == "uefi":
        variables = host.shared_dir / f"gateway{number}-variables.fd"
        shutil.copyfile("@ovmf_variables@", variables)
        words += ["-drive", "if=pflash,unit=0,format=raw,readonly=on,file=@ovmf_code@"]
        words += ["-drive", f"if=pflash,unit=1,format=raw,file={variables}"]
    # No option ROM: the machine's own network boot must not get in the way of the medium.
    words += ["-device", f"virtio-net-pci,netdev=lan,romfile=,mac=52:54:00:12:02:{number:02x}"]
    words += ["-netdev", f"vde,id=lan,sock={os.environ['QEMU_VDE_SOCKET_1']}"]
    made.append(Gateway(create_machine(shell_words(words), name=f"gateway{number}")))
    return made[-1]


host.start()
for unit in ("multi-user.target", "farmgate-provision.service", "dnsmasq.service"):
    host.wait_for_unit(unit)
host.fail("systemctl is-failed nginx.service")
