"""The screen of a gateway that does not boot says why, and whose gateway it is.

One subtest for each row of the table in docs/images.md.
"""

import datetime
import hashlib
from collections.abc import Callable
from pathlib import Path

from common import certificates
from common.host import BootHost
from common.host import free_port
from common.network import DEAD
from common.network import HOST
from common.network import Network
from common.scenario import Scenario

COMES_BACK = (
    "#!ipxe\necho nothing to do here\n# farmgate: allow FG023 this is what is tested\nexit 0\n"
)
DAMAGED = "#!ipxe\necho this is cut short on the boot host\nreboot\n"


def scenario(t: Scenario) -> None:
    with t.boot_host() as host, t.boot_host(name="stranger", url=host.url) as stranger:
        refusals(t, host, stranger)
    with t.subtest("where there is no network, the screen says so"):
        no_network(t)
    names(t)
    no_dns_and_no_router(t)
    dead_dns(t)


def shows(
    t: Scenario,
    image: Path,
    *patterns: str,
    network: Network | None = None,
    cable: str | None = None,
    card: str | None = "virtio-net-pci",
) -> None:
    """The screen of a gateway shows all of these."""
    machine = t.gateway(image, network=network)
    machine.card = card
    if cable:
        machine.network = cable
    with machine:
        for pattern in patterns:
            machine.wait_for(pattern, timeout=900)


def refusals(t: Scenario, host: BootHost, stranger: BootHost) -> None:
    name_a_contact(host)
    images = {name: host.image(name) for name in ("revoked", "bare", "comes-back", "damaged")}
    host.farmgate("gateway", "revoke", "revoked")
    host.publish("comes-back", host.folder("back", "boot.ipxe", files={"boot.ipxe": COMES_BACK}))
    host.publish("damaged", host.folder("damaged", "boot.ipxe", files={"boot.ipxe": DAMAGED}))
    cut_short(host, DAMAGED)
    base = host.base_image()
    foreign = host.spliced(base, stranger.image("other"), "foreign")
    theirs = stranger.spliced(stranger.base_image(), images["bare"], "theirs")
    shut = host.scratch / "shut.iso"
    url = f"https://10.0.2.2:{free_port()}"
    host.farmgate("iso", "make", "bare", "--url", url, "-o", shut, *host.parts())

    def one(image: Path, *patterns: str) -> Callable[[], None]:
        return lambda: shows(t, image, *patterns)

    with host.serving():
        t.together(
            {
                "a revoked medium names its gateway, the reason, and whom to call": one(
                    images["revoked"],
                    "this is the boot medium of revoked",
                    r"its certificate begins with [0-9a-f]{12}",
                    "refuses this medium: revoked",
                    r"who can help: the farm team, \+49 30 1234",
                ),
                "a medium without an identity says so": one(base, "holds no identity"),
                "a gateway for which nothing is published is told so": one(
                    images["bare"], "nothing published"
                ),
                "a boot script that comes back is said to, and is not fetched again in this round": (
                    lambda: comes_back(t, images["comes-back"])
                ),
                "a boot host with a fault of its own is said to have one": one(
                    images["damaged"], "has a fault of its own"
                ),
                "a medium of another CA is said not to be accepted": one(
                    foreign, "does not accept the certificate of this medium"
                ),
                "a boot host of another CA is said not to be trusted": one(
                    theirs, "not the one this medium trusts"
                ),
                "a port where nobody listens is said to refuse": one(
                    shut, "the connection is refused"
                ),
            }
        )
    other = certificates.authority("Another CA", host.scratch / "other-ca")
    ends = certificates.now() + datetime.timedelta(days=1)
    identity = certificates.issue(other, "stray", ends, host.scratch / "stray")
    in_its_own = host.seal(other_base(host, other[0]), *identity, "stray-in-its-own")
    stray = host.spliced(base, in_its_own, "stray")
    with host.serving("nginx"):
        t.together(
            {
                "behind nginx, a medium of another CA is said not to be accepted": one(
                    stray, "does not accept the certificate of this medium"
                ),
                "behind nginx, one of another CA of the same name is told what may be": one(
                    foreign, "closed the connection"
                ),
            }
        )


def cut_short(host: BootHost, text: str) -> None:
    """Empties the published file with this text."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    blob = host.state / "store" / "blobs" / digest[:2] / digest
    assert blob.read_text() == text
    blob.write_text("")


def other_base(host: BootHost, ca: Path) -> Path:
    """A base image for the fleet of another CA that has no state."""
    path = host.scratch / "other-base.iso"
    host.farmgate("iso", "base", "--ca", ca, "--url", host.url, "-o", path, *host.parts())
    return path


def comes_back(t: Scenario, image: Path) -> None:
    with t.gateway(image) as machine:
        machine.wait_for("came back without a boot", timeout=900)
        machine.wait_for("next round in", timeout=900)
        first_round = machine.console.text().split("next round in")[0]
        assert first_round.count("farmgate: asking") == 1, first_round


def name_a_contact(host: BootHost) -> None:
    path = host.state / "farmgate.toml"
    text = path.read_text()
    named = text.replace("[media]\n", '[media]\ncontact = "the farm team, +49 30 1234"\n')
    assert named != text
    path.write_text(named)


def no_network(t: Scenario) -> None:
    with t.boot_host(name="nobody") as host:
        image = host.image("lab-1")
        shows(t, image, "no network card that iPXE knows", card=None)
        shows(t, image, "got no address: ", cable="hubport,id=lan,hubid=0")
        unplugged = t.gateway(image)
        unplugged.card = "e1000"
        with unplugged, unplugged.monitor() as ask:
            ask("set_link", name="card", up=False)
            unplugged.wait_for("has no link: cable, switch", timeout=900)


def made_for(host: BootHost, url: str) -> Path:
    """A medium of lab-1 that asks there."""
    if not (host.state / "gateways" / "lab-1").exists():
        host.farmgate("gateway", "add", "lab-1")
    image = host.scratch / "there.iso"
    host.farmgate("iso", "make", "lab-1", "--url", url, "-o", image, *host.parts())
    return image


def names(t: Scenario) -> None:
    with t.subtest("names that are wrong or unknown, and a host that is gone, are said to be"):
        with Network(t.logs) as network, t.boot_host(network=network, name="names") as host:
            with host.serving():
                address = made_for(host, f"https://{HOST}:{host.port}")
                shows(t, address, "certificate is for another name", network=network)
                unknown = made_for(host, f"https://nobody.farmgate.test:{host.port}")
                shows(t, unknown, "does not know the boot host's name", network=network)
                gone = made_for(host, f"https://{DEAD}:{host.port}")
                shows(t, gone, "no answer: ", network=network)


def no_dns_and_no_router(t: Scenario) -> None:
    with t.subtest("a network without a DNS server and without a router is said to be"):
        with Network(t.logs, dns=(), router=False) as network:
            with t.boot_host(network=network, name="poor") as host:
                shows(t, host.image("lab-1"), "names no DNS server", network=network)
                far = made_for(host, "https://192.0.2.1")
                shows(t, far, "no way to the boot host", network=network)


def dead_dns(t: Scenario) -> None:
    with t.subtest("DNS servers that do not answer are said to"):
        with Network(t.logs, dns=(DEAD,)) as network:
            with t.boot_host(network=network, name="dead") as host:
                shows(t, host.image("lab-1"), "no answer: .*DNS", network=network)
