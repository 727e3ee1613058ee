//! The table of iPXE's commands, copied from its sources. Each command names its source file.

use super::ANY;
use super::On::All;
use super::On::Efi2;
use super::On::Newer;
use super::On::Optional;
use super::Opt;
use super::Spec;
use super::Takes::Integer;
use super::Takes::Key;
use super::Takes::Nothing;
use super::Takes::Setting;
use super::Takes::Text;
use super::newer;
use super::opt;
use super::spec;

const NONE: &[Opt] = &[];
const TIMEOUT: &[Opt] = &[opt("timeout", b't', Integer)];
const IMAGE: &[Opt] = &[
    opt("name", b'n', Text),
    opt("timeout", b't', Integer),
    opt("autofree", b'a', Nothing),
    newer("quiet", b'q', Nothing),
];
const IMGEXEC: &[Opt] = &[
    opt("name", b'n', Text),
    opt("timeout", b't', Integer),
    opt("autofree", b'a', Nothing),
    opt("replace", b'r', Nothing),
    newer("quiet", b'q', Nothing),
];
const IFCONF: &[Opt] = &[opt("configurator", b'c', Text), opt("timeout", b't', Integer)];
// Version 1.21.1 lacks "--set", but Debian's 1.21.1 has none of these commands.
const DIGEST: &[Opt] = &[opt("set", b's', Setting)];
const DYNUI: &[Opt] = &[opt("name", b'n', Text), opt("delete", b'd', Nothing)];
const DRIVE: &[Opt] = &[opt("drive", b'd', Integer)];
const SANBOOT: &[Opt] = &[
    opt("drive", b'd', Integer),
    opt("no-describe", b'n', Nothing),
    opt("keep", b'k', Nothing),
    opt("filename", b'f', Text),
    opt("extra", b'e', Text),
    opt("label", b'l', Text),
    opt("uuid", b'u', Text),
];

/// All commands, sorted by name.
pub(super) const COMMANDS: &[Spec] = &[
    // src/hci/commands/autoboot_cmd.c
    spec("autoboot", NONE, 0, ANY, All),
    // src/hci/commands/image_cmd.c: "imgexec" and synonyms
    spec("boot", IMGEXEC, 0, ANY, All),
    // src/hci/commands/cert_cmd.c
    spec("certfree", &[opt("subject", b's', Text)], 0, 0, All),
    spec("certstat", &[opt("subject", b's', Text)], 0, 0, All),
    spec("certstore", &[opt("subject", b's', Text), opt("keep", b'k', Nothing)], 0, 1, All),
    // src/hci/commands/image_cmd.c
    spec("chain", IMGEXEC, 0, ANY, All),
    // src/hci/commands/dynui_cmd.c
    spec(
        "choose",
        &[
            opt("menu", b'm', Text),
            opt("default", b'd', Text),
            opt("timeout", b't', Integer),
            opt("retimeout", b'r', Integer),
            opt("keep", b'k', Nothing),
        ],
        1,
        1,
        All,
    ),
    // src/hci/commands/nvo_cmd.c
    spec("clear", NONE, 1, 1, All),
    // src/hci/commands/console_cmd.c
    spec("colour", &[opt("basic", b'b', Integer), opt("rgb", b'r', Integer)], 1, 1, All),
    // src/hci/commands/config_cmd.c
    spec("config", NONE, 0, 1, All),
    // src/hci/commands/console_cmd.c
    spec(
        "console",
        &[
            opt("x", b'x', Integer),
            opt("y", b'y', Integer),
            opt("left", b'l', Integer),
            opt("right", b'r', Integer),
            opt("top", b't', Integer),
            opt("bottom", b'b', Integer),
            opt("depth", b'd', Integer),
            opt("picture", b'p', Text),
            opt("keep", b'k', Nothing),
        ],
        0,
        0,
        All,
    ),
    spec("cpair", &[opt("foreground", b'f', Integer), opt("background", b'b', Integer)], 1, 1, All),
    // src/arch/x86/hci/commands/cpuid_cmd.c
    spec(
        "cpuid",
        &[opt("ext", b'e', Nothing), opt("amd", b'a', Nothing), opt("ecx", b'c', Nothing)],
        1,
        1,
        All,
    ),
    // src/hci/commands/dhcp_cmd.c: synonym for "ifconf"
    spec("dhcp", IFCONF, 0, ANY, All),
    // src/core/exec.c
    spec("echo", &[opt("n", b'n', Nothing)], 0, ANY, All),
    spec("exit", NONE, 0, 1, All),
    // src/hci/commands/fcmgmt_cmd.c
    spec("fcels", &[opt("port", b'p', Text), opt("id", b'i', Text)], 1, 1, Optional),
    spec("fcstat", NONE, 0, 0, Optional),
    // src/hci/commands/fdt_cmd.c
    spec("fdt", &[opt("timeout", b't', Integer), newer("quiet", b'q', Nothing)], 0, 1, Optional),
    // src/hci/commands/dynui_cmd.c
    spec("form", DYNUI, 0, ANY, All),
    // src/hci/commands/gdbstub_cmd.c
    spec("gdbstub", NONE, 1, ANY, Optional),
    // src/image/script.c
    spec("goto", NONE, 1, 1, All),
    // src/hci/shell.c: looks at no argument
    spec("help", NONE, 0, ANY, All),
    // src/hci/commands/ibmgmt_cmd.c
    spec("ibstat", NONE, 0, 0, All),
    // src/hci/commands/ifmgmt_cmd.c
    spec("ifclose", NONE, 0, ANY, All),
    spec("ifconf", IFCONF, 0, ANY, All),
    spec("iflinkwait", TIMEOUT, 0, ANY, All),
    spec("ifopen", NONE, 0, ANY, All),
    spec("ifstat", NONE, 0, ANY, All),
    // src/hci/commands/image_cmd.c
    spec("imgargs", IMAGE, 1, ANY, All),
    // src/hci/commands/image_crypt_cmd.c
    spec(
        "imgdecrypt",
        &[
            opt("name", b'n', Text),
            opt("keep", b'k', Nothing),
            opt("timeout", b't', Integer),
            newer("quiet", b'q', Nothing),
        ],
        2,
        2,
        Optional,
    ),
    // src/hci/commands/image_cmd.c
    spec("imgexec", IMGEXEC, 0, ANY, All),
    // src/hci/commands/image_archive_cmd.c
    spec(
        "imgextract",
        &[
            opt("name", b'n', Text),
            opt("keep", b'k', Nothing),
            opt("timeout", b't', Integer),
            newer("quiet", b'q', Nothing),
        ],
        1,
        1,
        Optional,
    ),
    // src/hci/commands/image_cmd.c
    spec("imgfetch", IMAGE, 1, ANY, All),
    spec("imgfree", NONE, 0, ANY, All),
    spec("imgload", IMAGE, 1, ANY, All),
    // src/hci/commands/image_mem_cmd.c
    spec("imgmem", &[opt("name", b'n', Text)], 2, 2, Optional),
    // src/hci/commands/image_cmd.c
    spec("imgselect", IMAGE, 1, ANY, All),
    // src/hci/commands/image_set_cmd.c
    spec(
        "imgset",
        &[opt("keep", b'k', Nothing), opt("timeout", b't', Integer), opt("quiet", b'q', Nothing)],
        2,
        2,
        Newer,
    ),
    // src/hci/commands/image_cmd.c
    spec("imgstat", NONE, 0, ANY, All),
    // src/hci/commands/image_trust_cmd.c
    spec(
        "imgtrust",
        &[opt("allow", b'a', Nothing), opt("permanent", b'p', Nothing)],
        0,
        0,
        Optional,
    ),
    spec(
        "imgverify",
        &[
            opt("signer", b's', Text),
            opt("keep", b'k', Nothing),
            opt("timeout", b't', Integer),
            newer("quiet", b'q', Nothing),
        ],
        2,
        2,
        Optional,
    ),
    // src/hci/commands/nvo_cmd.c
    spec("inc", NONE, 1, 2, All),
    // src/hci/commands/image_cmd.c: synonym for "imgfetch"
    spec("initrd", IMAGE, 1, ANY, All),
    // src/hci/commands/ipstat_cmd.c
    spec("ipstat", NONE, 0, 0, Optional),
    // src/core/exec.c
    spec("iseq", NONE, 2, 2, All),
    spec("isset", NONE, 1, 1, All),
    // src/hci/commands/dynui_cmd.c
    spec(
        "item",
        &[
            opt("menu", b'm', Text),
            opt("form", b'f', Text),
            opt("key", b'k', Key),
            opt("default", b'd', Nothing),
            opt("secret", b's', Nothing),
            opt("gap", b'g', Nothing),
        ],
        0,
        ANY,
        All,
    ),
    // src/hci/commands/iwmgmt_cmd.c
    spec("iwlist", NONE, 0, ANY, All),
    spec("iwstat", NONE, 0, ANY, All),
    // src/hci/commands/image_cmd.c: synonym for "imgselect"
    spec("kernel", IMAGE, 1, ANY, All),
    // src/hci/commands/login_cmd.c
    spec("login", NONE, 0, 0, All),
    // src/hci/commands/lotest_cmd.c
    spec("lotest", &[opt("mtu", b'm', Integer), opt("broadcast", b'b', Nothing)], 2, 2, Optional),
    // src/crypto/mishmash/cmd_md4.c
    spec("md4sum", DIGEST, 1, ANY, Optional),
    // src/hci/commands/digest_cmd.c
    spec("md5sum", DIGEST, 1, ANY, Efi2),
    // src/hci/commands/dynui_cmd.c
    spec("menu", DYNUI, 0, ANY, All),
    // src/hci/commands/image_cmd.c: synonym for "imgfetch"
    spec("module", IMAGE, 1, ANY, All),
    // src/hci/commands/nslookup_cmd.c
    spec("nslookup", NONE, 2, 2, Optional),
    // src/hci/commands/neighbour_cmd.c
    spec("nstat", NONE, 0, 0, Optional),
    // src/hci/commands/ntp_cmd.c
    spec("ntp", NONE, 1, 1, Efi2),
    // src/hci/commands/param_cmd.c
    spec("param", &[opt("params", b'p', Text), opt("header", b'H', Nothing)], 1, ANY, Efi2),
    spec(
        "params",
        &[opt("name", b'n', Text), opt("delete", b'd', Nothing), newer("method", b'm', Text)],
        0,
        0,
        Efi2,
    ),
    // src/hci/commands/pci_cmd.c
    spec("pciscan", NONE, 1, 1, Efi2),
    // src/hci/commands/ping_cmd.c
    spec(
        "ping",
        &[
            opt("size", b's', Integer),
            opt("timeout", b't', Integer),
            opt("count", b'c', Integer),
            opt("quiet", b'q', Nothing),
        ],
        1,
        1,
        All,
    ),
    // src/hci/commands/poweroff_cmd.c
    spec("poweroff", NONE, 0, 0, All),
    // src/hci/commands/dynui_cmd.c
    spec("present", &[opt("form", b'f', Text), opt("keep", b'k', Nothing)], 0, 0, All),
    // src/hci/commands/profstat_cmd.c
    spec("profstat", NONE, 0, 0, Optional),
    // src/image/script.c
    spec("prompt", &[opt("key", b'k', Key), opt("timeout", b't', Integer)], 0, ANY, All),
    // src/hci/commands/dhcp_cmd.c
    spec("pxebs", NONE, 2, 2, All),
    // src/hci/commands/nvo_cmd.c
    spec("read", TIMEOUT, 1, 1, All),
    // src/hci/commands/reboot_cmd.c
    spec("reboot", &[opt("warm", b'w', Nothing), opt("setup", b's', Nothing)], 0, 0, All),
    // src/hci/commands/route_cmd.c
    spec("route", NONE, 0, 0, All),
    // src/hci/commands/sanboot_cmd.c
    spec("sanboot", SANBOOT, 0, ANY, All),
    spec("sanhook", &[opt("drive", b'd', Integer), opt("no-describe", b'n', Nothing)], 1, ANY, All),
    spec("sanunhook", DRIVE, 0, 0, All),
    // src/hci/commands/nvo_cmd.c
    spec("set", NONE, 1, ANY, All),
    // src/hci/commands/digest_cmd.c
    spec("sha1sum", DIGEST, 1, ANY, Efi2),
    // src/crypto/mishmash/cmd_sha224.c, cmd_sha256.c, cmd_sha384.c, cmd_sha512.c
    spec("sha224sum", DIGEST, 1, ANY, Efi2),
    spec("sha256sum", DIGEST, 1, ANY, Efi2),
    spec("sha384sum", DIGEST, 1, ANY, Efi2),
    spec("sha512sum", DIGEST, 1, ANY, Efi2),
    // src/hci/shell.c
    spec("shell", NONE, 0, 0, All),
    // src/hci/commands/shim_cmd.c
    spec(
        "shim",
        &[
            opt("timeout", b't', Integer),
            opt("require-loader", b'l', Nothing),
            opt("allow-pxe", b'p', Nothing),
            opt("allow-sbat", b's', Nothing),
            newer("quiet", b'q', Nothing),
        ],
        0,
        1,
        All,
    ),
    // src/hci/commands/nvo_cmd.c
    spec("show", &[newer("quiet", b'q', Nothing)], 1, 1, All),
    // src/core/exec.c
    spec("sleep", NONE, 1, 1, All),
    // src/arch/x86/hci/commands/pxe_cmd.c
    spec("startpxe", NONE, 0, ANY, Optional),
    spec("stoppxe", NONE, 0, 0, Optional),
    // src/hci/commands/sync_cmd.c
    spec("sync", TIMEOUT, 0, 0, All),
    // src/hci/commands/time_cmd.c
    spec("time", NONE, 1, ANY, Optional),
    // src/hci/commands/usb_cmd.c
    spec("usbscan", NONE, 1, 1, Efi2),
    // src/hci/commands/vlan_cmd.c
    spec("vcreate", &[opt("tag", b't', Integer), opt("priority", b'p', Integer)], 1, 1, All),
    spec("vdestroy", NONE, 1, 1, All),
];
