"""A gateway boots a NixOS system from the boot host: secrets in stage 1, a cache drive, an acknowledgement."""

host.succeed("mkdir -p /run/keys && printf 'PROOF=4711\n' >/run/keys/lab-1.env")
image = make_image("lab-1")


def netboots(boots: int) -> str:
    """The console of a gateway with the cache drive; it has counted this many `boots`."""
    machine = gateway(image, firmware="bios", memory=1536, drive="64M")
    machine.start()
    machine.wait_for_console_text("FARM-WORKS", timeout=600)
    machine.wait_for_console_text("farmgate-ack: (acknowledged|NOT)", timeout=300)
    log = machine.get_console_log()
    machine.crash()
    assert f"FARM-WORKS boots={boots} proof=4711" in log, log[-3000:]
    return log


with subtest("provisioning published the system"):
    assert '"current": 1' in farmgate("--json generations lab-1")

with subtest(
    "the gateway gets its secrets, formats its blank drive, does its work and acknowledges"
):
    netboots(1)
    assert '"good": true' in farmgate("--json generations lab-1")

with subtest("its next boot finds the cache as it was left"):
    netboots(2)
