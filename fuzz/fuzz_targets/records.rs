//! Stored records: no panic whatever is in them, in whatever order they come, and
//! a decision that is one of the generations there are.
#![no_main]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use farmgate::fleet::Event;
use farmgate::fleet::EventId;
use farmgate::fleet::History;
use farmgate::fleet::Policy;
use farmgate::fleet::Record;
use farmgate::fleet::decide;
use farmgate::store::journal::Entry;
use farmgate::store::leases::Lease;
use farmgate::store::records;
use farmgate::store::rollouts::Stored;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut events = BTreeMap::new();
    for (number, line) in input.split(|byte| *byte == b'\n').enumerate() {
        let _ = serde_json::from_slice::<Record>(line);
        let _ = serde_json::from_slice::<Entry>(line);
        let _ = serde_json::from_slice::<Lease>(line);
        let _ = serde_json::from_slice::<Stored>(line);
        let _ = records::parse(&"a revision", line);
        let text = String::from_utf8_lossy(line);
        if let Some(id) = EventId::parse(&text) {
            assert_eq!(id.to_string(), text);
        }
        // A line "UUID JSON" is an event of that name; without a name it gets one.
        let named = text.split_once(' ').and_then(|(id, _)| EventId::parse(id));
        let json = named.map_or(&*text, |id| &text[id.to_string().len()..]);
        if let Ok(event) = serde_json::from_str::<Event>(json) {
            let id = named.unwrap_or_else(|| EventId::after(None, number as u64));
            events.insert(id, Arc::new(event));
        }
    }
    let history = History::fold(&events);
    let decision = decide(&history, Policy::Tries(NonZeroU32::MIN));
    if let Some(decision) = decision {
        assert!(history.generations().any(|known| *known == decision.generation));
    }
});
