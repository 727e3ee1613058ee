use super::*;

fn codes_of(source: &[u8]) -> Vec<&'static str> {
    check(source, &Options::default()).iter().map(|f| f.code.id).collect()
}

#[test]
fn smoke() {
    assert!(codes_of(b"#!ipxe\nkernel vmlinuz panic=10\ninitrd i\nboot\n").is_empty());
}
