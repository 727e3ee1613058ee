//! Limits on open connections: for all gateways together, for each address, and for clients that
//! have not sent anything yet. They keep descriptors free for files and for operators.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Upper limit of gateways' connections, even with more descriptors: each needs memory, too.
const MOST: usize = 4096;

/// Descriptors reserved for listeners, operators' connections and events.
const KEPT_BACK: usize = 192;

/// Connections of operators and their monitoring.
const OPERATORS: usize = 32;

/// Room for connections of one kind of listener.
#[derive(Clone)]
pub(in crate::server) struct Room {
    /// `None` for operators: there the earliest connection gives way.
    all: Option<Arc<Semaphore>>,
    origins: Shared<HashMap<Origin, usize>>,
    lobby: Shared<Lobby>,
}

type Shared<T> = Arc<Mutex<T>>;

/// The network of one client: an IPv4 address, or an IPv6 prefix that one client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

/// Clients that have not identified themselves yet, oldest first.
struct Lobby {
    most: usize,
    next: u64,
    there: VecDeque<(u64, CancellationToken)>,
}

/// A slot for one connection, freed when dropped.
pub(in crate::server) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A counted connection of one address, until it is dropped.
pub(in crate::server) struct Neighbour {
    origins: Shared<HashMap<Origin, usize>>,
    origin: Origin,
}

/// A seat in the lobby, until it is dropped.
pub(in crate::server) struct Seat {
    lobby: Shared<Lobby>,
    number: u64,
    taken: CancellationToken,
}

impl Room {
    /// The limits for gateways, in a process that may open this many descriptors. Each connection
    /// can need a second one, for a file.
    pub(in crate::server) fn for_gateways(descriptors: u64) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        Self::with(descriptors.saturating_sub(KEPT_BACK).div_ceil(2).clamp(16, MOST))
    }

    fn with(most: usize) -> Self {
        Self { all: Some(Arc::new(Semaphore::new(most))), ..Self::with_lobby(most / 2) }
    }

    /// The limits for operators.
    pub(in crate::server) fn for_operators() -> Self {
        Self::with_lobby(OPERATORS)
    }

    fn with_lobby(most: usize) -> Self {
        let lobby = Lobby { most, next: 0, there: VecDeque::new() };
        Self { all: None, origins: Shared::default(), lobby: Arc::new(Mutex::new(lobby)) }
    }

    /// Waits for a free slot. Further connections wait in the accept queue meanwhile.
    pub(in crate::server) async fn place(&self) -> Place {
        let permit = match self.all.clone() {
            // The semaphore is never closed.
            Some(all) => all.acquire_owned().await.ok(),
            None => None,
        };
        Place { _permit: permit }
    }

    /// Counts a connection of `address`; `None` if it has `most` already.
    pub(in crate::server) fn neighbour(
        &self,
        address: IpAddr,
        most: NonZeroUsize,
    ) -> Option<Neighbour> {
        let origin = Origin::of(address);
        let mut origins = lock(&self.origins);
        let count = origins.entry(origin).or_default();
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        Some(Neighbour { origins: self.origins.clone(), origin })
    }

    /// A seat for a new connection. If all are taken, the connection that has been silent for
    /// longest gives way.
    pub(in crate::server) fn seat(&self) -> Seat {
        let mut lobby = lock(&self.lobby);
        if lobby.there.len() >= lobby.most
            && let Some((_, longest)) = lobby.there.pop_front()
        {
            longest.cancel();
        }
        let (number, taken) = (lobby.next, CancellationToken::new());
        lobby.next += 1;
        lobby.there.push_back((number, taken.clone()));
        Seat { lobby: self.lobby.clone(), number, taken }
    }
}

impl Seat {
    /// Completes when a newer connection needs the seat.
    pub(in crate::server) async fn lost(&self) {
        self.taken.cancelled().await;
    }
}

impl Origin {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                // A holder of one IPv6 address usually has 2^64 of them (RFC 6177).
                let network = u128::from(address) & !u128::from(u64::MAX);
                Ipv6Addr::from(network).into()
            }
            address => address,
        })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let mut origins = lock(&self.origins);
        if let Some(count) = origins.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                origins.remove(&self.origin);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut lobby = lock(&self.lobby);
        // Numbers grow from front to back.
        if let Ok(index) = lobby.there.binary_search_by_key(&self.number, |(number, _)| *number) {
            let _ = lobby.there.remove(index);
        }
    }
}

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, T> {
    // The code under this lock cannot panic.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn descriptors_are_kept_back() {
        for (descriptors, places) in [(0, 16), (1024, 416), (65536, MOST), (u64::MAX, MOST)] {
            let room = Room::for_gateways(descriptors);
            assert_eq!(room.all.unwrap().available_permits(), places, "{descriptors}");
        }
    }

    #[test]
    fn one_address_has_its_share_and_others_theirs() {
        let room = Room::with(10);
        let share = NonZeroUsize::new(2).unwrap();
        let ask = |address: &str| room.neighbour(address.parse().unwrap(), share);
        let mine: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"].map(ask).into();
        assert_eq!(mine.iter().flatten().count(), 2);
        assert!(ask("192.0.2.2").is_some());
        let network: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3:4"].map(ask).into();
        assert_eq!(network.iter().flatten().count(), 2);
        assert!(ask("2001:db8:0:1::1").is_some());
        drop((mine, network));
        assert!(lock(&room.origins).is_empty());
        assert!(ask("192.0.2.1").is_some());
    }

    #[test]
    fn whoever_finds_no_room_gets_it_when_somebody_goes() {
        let room = Room::with(2);
        let places: Vec<_> = (0..2).map(|_| room.place().now_or_never().unwrap()).collect();
        assert!(room.place().now_or_never().is_none());
        drop(places);
        assert!(room.place().now_or_never().is_some());
    }

    proptest! {
        /// The latest arrivals always hold a seat, and nobody holds one that is not needed.
        #[test]
        fn the_oldest_gives_way(leave in prop::collection::vec(any::<Option<u8>>(), 0..60)) {
            let room = Room::with_lobby(3);
            let mut seats: Vec<Seat> = Vec::new();
            for leave in leave {
                match leave {
                    Some(index) if !seats.is_empty() => {
                        let _ = seats.remove(usize::from(index) % seats.len());
                    }
                    _ => seats.push(room.seat()),
                }
                seats.retain(|seat| !seat.taken.is_cancelled());
                prop_assert!(seats.len() <= 3);
                prop_assert_eq!(lock(&room.lobby).there.len(), seats.len());
                if let Some(last) = seats.last() {
                    prop_assert!(last.lost().now_or_never().is_none());
                }
            }
        }
    }
}
