//! Many gateways at once.

use std::path::Path;

use farmgate::fleet::History;
use farmgate::fleet::Record;
use farmgate::identity::GatewayName;
use farmgate::identity::pki::KeyType;
use farmgate::identity::pki::Validity;
use farmgate::publish;
use farmgate::store::State;
use farmgate::store::generations::Generations;
use time::OffsetDateTime;

use super::Host;
use crate::common::nginx_headers;

/// Bytes of the kernel that all of them boot.
pub(super) const KERNEL: usize = 100_000;

/// A gateway: its record, and what nginx says of its certificate.
pub(super) struct Gateway {
    pub(super) record: Record,
    pub(super) headers: String,
}

/// Makes gateways, each with a generation, without a process for each.
pub(super) fn add_gateways(host: &Host, count: usize) -> Vec<Gateway> {
    let state = State::open(&host.test.dir(), None).unwrap();
    let files = [("boot.ipxe", &b"#!ipxe\nboot\n"[..]), ("vmlinuz", &[7; KERNEL])];
    let folder = host.test.folder("all", &files);
    let (numbers, state, folder): (Vec<_>, _, _) = ((0..count).collect(), &state, &folder);
    // Each waits for the disk most of the time.
    std::thread::scope(|scope| {
        let add = |numbers| scope.spawn(move || add(state, folder, numbers));
        let adding: Vec<_> = numbers.chunks(count.div_ceil(8)).map(add).collect();
        adding.into_iter().flat_map(|adding| adding.join().unwrap()).collect()
    })
}

fn add(state: &State, folder: &Path, numbers: &[usize]) -> Vec<Gateway> {
    let authority = state.authority().unwrap();
    let now = OffsetDateTime::now_utc();
    let validity = Validity {
        not_before: now - time::Duration::DAY,
        not_after: now + time::Duration::days(30),
    };
    let add = |number| {
        let name: GatewayName = format!("gateway-{number}").parse().unwrap();
        let issued = authority.issue_client(&name, KeyType::P256, validity).unwrap();
        let record = {
            let lock = state.lock().unwrap();
            state.gateways().add(&lock, &name, &issued.certificate_pem, None, now).unwrap()
        };
        let files = publish::Folder::open(folder).unwrap();
        publish::publish(
            state,
            &record,
            &files,
            publish::When::Always,
            &farmgate::fleet::By::new("test"),
            now,
            &|_| {},
        )
        .unwrap();
        let pem = folder.with_file_name(format!("{name}.pem"));
        std::fs::write(&pem, issued.certificate_pem).unwrap();
        Gateway { record, headers: nginx_headers(&pem) }
    };
    numbers.iter().map(add).collect()
}

/// What a host knows of each.
pub(super) fn histories(host: &Host, gateways: &[Gateway]) -> Vec<History> {
    let state = State::open(&host.test.dir(), None).unwrap();
    let all = Generations::new(&state);
    gateways.iter().map(|gateway| all.history(&gateway.record.id).unwrap()).collect()
}

/// Boots of a gateway that were acknowledged.
pub(super) fn acknowledged(history: &History) -> usize {
    history.boots().values().filter(|boot| boot.acknowledged).count()
}
