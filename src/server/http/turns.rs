//! Turns: a limit on one client's concurrent requests. Further requests wait without a thread. So a
//! client that asks without end, or for something locked, delays nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A gate for each client that is at it, and none for the others.
pub(super) struct Turns {
    gates: Shared,
    at_once: usize,
    /// Running and waiting requests together.
    most: usize,
}

type Shared = Arc<Mutex<HashMap<String, Gate>>>;

struct Gate {
    turns: Arc<Semaphore>,
    visitors: usize,
}

/// The reason for a request to get no turn.
#[derive(Debug, thiserror::Error)]
pub(super) enum Busy {
    #[error("too many requests at once")]
    TooMany,
    #[error("waited for a turn in vain")]
    InVain,
}

/// A turn, returned when dropped.
pub(super) struct Turn {
    // The order of the fields matters: a gate without visitors has all its turns back.
    _permit: OwnedSemaphorePermit,
    _visit: Visit,
}

/// A request that runs or waits at a gate.
struct Visit {
    gates: Shared,
    client: String,
}

impl Turns {
    /// Lets `at_once` requests of one client run at a time, and `waiting` more wait.
    pub(super) fn new((at_once, waiting): (usize, usize)) -> Self {
        Self { gates: Shared::default(), at_once, most: at_once + waiting }
    }

    /// Waits for a turn of `client`; turns come in the order of asking. To stop waiting is
    /// to leave the line.
    pub(super) async fn enter(&self, client: &str, until: Instant) -> Result<Turn, Busy> {
        let (visit, turns) = self.visit(client)?;
        let permit = tokio::time::timeout_at(until, turns.acquire_owned());
        // No semaphore of a gate is ever closed.
        let permit = permit.await.map_err(|_| Busy::InVain)?.map_err(|_| Busy::InVain)?;
        Ok(Turn { _permit: permit, _visit: visit })
    }

    fn visit(&self, client: &str) -> Result<(Visit, Arc<Semaphore>), Busy> {
        let mut gates = lock(&self.gates);
        let new = || Gate { turns: Arc::new(Semaphore::new(self.at_once)), visitors: 0 };
        let gate = gates.entry(client.to_owned()).or_insert_with(new);
        if gate.visitors >= self.most {
            return Err(Busy::TooMany);
        }
        gate.visitors += 1;
        let turns = gate.turns.clone();
        Ok((Visit { gates: self.gates.clone(), client: client.to_owned() }, turns))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut gates = lock(&self.gates);
        if let Some(gate) = gates.get_mut(&self.client) {
            gate.visitors -= 1;
            if gate.visitors == 0 {
                gates.remove(&self.client);
            }
        }
    }
}

fn lock(gates: &Shared) -> MutexGuard<'_, HashMap<String, Gate>> {
    // The code under this lock cannot panic.
    gates.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;

    /// Longer than any test.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    fn visitors(gates: &Turns) -> usize {
        lock(&gates.gates).values().map(|gate| gate.visitors).sum()
    }

    #[tokio::test]
    async fn whoever_is_locked_out_keeps_nobody_else_out_and_gets_in_afterwards() {
        let gates = Turns::new((1, 2));
        let first = gates.enter("a", later()).await.unwrap();
        let late = gates.enter("a", Instant::now()).await.err().unwrap();
        assert!(matches!(late, Busy::InVain), "{late}");
        let other = gates.enter("b", later()).now_or_never();
        assert!(other.is_some_and(|turn| turn.is_ok()));
        drop(first);
        assert!(gates.enter("a", Instant::now()).await.is_ok());
        assert_eq!(visitors(&gates), 0);
    }

    /// 600 requests behind one lock, all cancelled, used to hold 512 threads forever.
    #[tokio::test]
    async fn those_who_leave_the_line_leave_nothing_behind() {
        let gates = Turns::new((1, 600));
        let first = gates.enter("a", later()).await.unwrap();
        let mut waiting: Vec<_> = (0..600).map(|_| Box::pin(gates.enter("a", later()))).collect();
        assert!(waiting.iter_mut().all(|enter| enter.now_or_never().is_none()));
        assert_eq!(visitors(&gates), 601);
        let refused = gates.enter("a", later()).now_or_never().unwrap().err().unwrap();
        assert!(matches!(refused, Busy::TooMany), "{refused}");
        drop(waiting);
        assert_eq!(visitors(&gates), 1);
        drop(first);
        assert!(lock(&gates.gates).is_empty());
    }

    #[derive(Clone, Debug)]
    enum Act {
        Ask(u8),
        /// A running or waiting request leaves.
        Go(prop::sample::Index),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (0u8..3).prop_map(Act::Ask),
            any::<prop::sample::Index>().prop_map(Act::Go)
        ];
        prop::collection::vec(act, 0..80)
    }

    enum Visitor<'a> {
        In(u8, #[allow(dead_code)] Turn),
        Waiting(u8, BoxFuture<'a, Result<Turn, Busy>>),
    }

    proptest! {
        /// There are never too many turns, never a free one while a request waits, and never a gate
        /// without requests.
        #[test]
        fn turns_are_never_too_many_and_never_lost(
            acts in acts(),
            at_once in 1usize..3,
            line in 0usize..4,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.unwrap();
            let _runtime = runtime.enter();
            let gates = Turns::new((at_once, line));
            let mut visitors: Vec<Visitor<'_>> = Vec::new();
            for act in acts {
                match act {
                    Act::Ask(client) => {
                        let name = client.to_string();
                        let gates = &gates;
                        let enter = async move { gates.enter(&name, later()).await };
                        visitors.push(Visitor::Waiting(client, enter.boxed()));
                    }
                    Act::Go(index) if !visitors.is_empty() => {
                        let _ = visitors.remove(index.index(visitors.len()));
                    }
                    Act::Go(_) => {}
                }
                // Every waiting request polls for its turn.
                visitors = visitors
                    .into_iter()
                    .filter_map(|visitor| match visitor {
                        Visitor::Waiting(client, mut enter) => {
                            match enter.as_mut().now_or_never() {
                                None => Some(Visitor::Waiting(client, enter)),
                                Some(turn) => turn.ok().map(|turn| Visitor::In(client, turn)),
                            }
                        }
                        visitor => Some(visitor),
                    })
                    .collect();
                for client in 0..3 {
                    let inside = visitors
                        .iter()
                        .filter(|visitor| matches!(visitor, Visitor::In(of, _) if *of == client))
                        .count();
                    let waiting = visitors
                        .iter()
                        .filter(|visitor| matches!(visitor, Visitor::Waiting(of, _) if *of == client))
                        .count();
                    prop_assert!(inside <= at_once && waiting <= line);
                    prop_assert!(waiting == 0 || inside == at_once);
                    let there = lock(&gates.gates).contains_key(&client.to_string());
                    prop_assert_eq!(there, inside + waiting > 0);
                }
            }
        }
    }
}
