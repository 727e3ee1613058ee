//! The settings that iPXE defines itself.

/// Settings that farmgate's prelude sets before the operator's script runs.
pub const PRELUDE: &[&str] = &[
    "gateway",
    "gateway_name",
    "fingerprint",
    "client_cert_fingerprint",
    "generation",
    "secrets_url",
    "ack_url",
    "public_secrets_url",
    "public_ack_url",
    "s3_endpoint",
    "s3_access_key_id",
    "s3_access_key",
    "s3_bucket_name",
    "s3_region",
];

/// Predefined settings: all `__setting` tables of iPXE 2.0.0 (`src/core`, `src/net`,
/// `src/interface`, `src/arch`, `src/drivers`).
const PREDEFINED: &[&str] = &[
    "active-scan",
    "asset",
    "board-serial",
    "buildarch",
    "busid",
    "busloc",
    "bustype",
    "cert",
    "chip",
    "cpumodel",
    "cpuvendor",
    "crosscert",
    "cwduri",
    "cwuri",
    "dhcp-server",
    "dmesg",
    "dns",
    "dns6",
    "dnssl",
    "domain",
    "errno",
    "filename",
    "gateway",
    "gateway6",
    "hostname",
    "hwaddr",
    "ifname",
    "initiator-iqn",
    "ip",
    "ip6",
    "keep-san",
    "key",
    "keymap",
    "len6",
    "linktype",
    "mac",
    "manufacturer",
    "memsize",
    "mtu",
    "netmask",
    "next-server",
    "ntp",
    "password",
    "peerdist",
    "peerhost",
    "platform",
    "priority",
    "privkey",
    "product",
    "reverse-password",
    "reverse-username",
    "root-path",
    "san-drive",
    "san-filename",
    "san-retries",
    "scriptlet",
    "serial",
    "skip-san-boot",
    "ssid",
    "static-routes",
    "syslog",
    "syslog6",
    "syslogs",
    "sysmac",
    "trust",
    "unixtime",
    "use-cached",
    "user-class",
    "username",
    "uuid",
    "vendor-class",
    "version",
    "vlan",
    "vram",
];

/// Settings blocks that exist without a script creating them.
const SCOPES: &[&str] = &[
    "acpi",
    "builtin",
    "cpuid",
    "dhcp",
    "efi",
    "fdt",
    "memmap",
    "ndp",
    "pci",
    "proxydhcp",
    "pxebs",
    "smbios",
    "usb",
    "vmware",
    "guestinfo",
    "netX",
];

/// Setting types (`__setting_type`).
pub const TYPES: &[&str] = &[
    "string",
    "uristring",
    "ipv4",
    "ipv6",
    "int8",
    "int16",
    "int32",
    "uint8",
    "uint16",
    "uint32",
    "hex",
    "hexhyp",
    "hexraw",
    "base64",
    "uuid",
    "guid",
    "busdevfn",
    "dnssl",
];

fn is(list: &[&str], name: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes() == name)
}

/// True if a variable cannot have this name: iPXE or the prelude has a setting of that name.
pub fn is_reserved(name: &str) -> bool {
    PREDEFINED.contains(&name) || PRELUDE.contains(&name) || TYPES.contains(&name)
}

/// True if a setting of this name can have a value that no script set.
pub fn is_builtin(name: &[u8]) -> bool {
    // A numeric or empty name is a DHCP option (`parse_setting_tag`).
    is(PREDEFINED, name)
        || is(PRELUDE, name)
        || name.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b'.' | b'x' | b'X'))
}

/// True if the settings of this block come from the machine or the network.
pub fn is_scope(scope: &[u8]) -> bool {
    let first = scope.split(|byte| *byte == b'.').next().unwrap_or_default();
    first.is_empty()
        || is(SCOPES, first)
        // Network cards, and VLANs on them (net0-5).
        || first.strip_prefix(b"net").is_some_and(|rest| {
            rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
        })
}

/// True if iPXE has a setting type of this name.
pub fn is_type(name: &[u8]) -> bool {
    is(TYPES, name)
}
