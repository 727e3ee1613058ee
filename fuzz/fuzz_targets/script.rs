//! Boot scripts: no panic, every byte belongs to one line, and what is printed
//! reads the same.
#![no_main]

use std::collections::BTreeMap;

use farmgate::ipxe::script;
use farmgate::ipxe::script::Options;
use farmgate::ipxe::script::grammar::Script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|source: &[u8]| {
    let parsed = Script::parse(source);
    let mut end = 0;
    for line in &parsed.lines {
        assert_eq!(line.span.start, end);
        end = line.span.end;
    }
    assert_eq!(end, source.len());
    let printed = parsed.print();
    assert_eq!(Script::parse(&printed).print(), printed);

    let _ = script::names(source);
    let files = BTreeMap::from([("vmlinuz".to_owned(), 1 << 30), ("a".to_owned(), 1)]);
    // What a kernel and an initramfs are is fuzzed by the same bytes.
    let heads = BTreeMap::from([("vmlinuz".to_owned(), source.to_vec())]);
    for files in [None, Some(&files)] {
        let heads = files.map(|_| &heads);
        for finding in script::check(source, &Options { files, heads, ..Options::default() }) {
            assert!(finding.span.start <= finding.span.end && finding.span.end <= source.len());
            assert!(!finding.what.contains(char::is_control));
        }
    }
});
