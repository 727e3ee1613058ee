//! Tells the boot host how far the boot is. Reports wait in a queue: the boot waits for none of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use super::console::say;
use super::host::Told;
use super::progress::uptime;
use crate::backoff::Backoff;
use crate::backoff::jitter;
use crate::profile::report::Report;
use crate::profile::report::Step;

/// Most reports that wait.
const MOST: usize = 200;
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Brings a report to the boot host.
type Bring = dyn Fn(&Report) -> Told + Send + Sync;

/// The queue. Clones are the same one.
#[derive(Clone)]
pub struct Reporter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Report>,
    /// One is on its way.
    sending: bool,
    /// The boot host wants no more of them.
    refused: bool,
}

impl Queue {
    /// Without room, what is oldest is least needed; what failed is needed most.
    fn push(&mut self, report: Report) {
        if self.refused {
            return;
        }
        if self.waiting.len() >= MOST {
            self.waiting.pop_front();
        }
        self.waiting.push_back(report);
    }
}

impl Reporter {
    /// A queue that is sent by a thread of its own.
    pub fn new(bring: impl Fn(&Report) -> Told + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let reporter = Self(shared);
        let sender = reporter.clone();
        thread::spawn(move || sender.run(&bring));
        reporter
    }

    /// Takes a step into the queue.
    pub fn tell(&self, step: Step) {
        let uptime = u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX);
        self.lock().push(Report { uptime, step });
        self.0.changed.notify_all();
    }

    /// Waits until all have arrived, but not longer than this. True if they have.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut queue = self.lock();
        loop {
            if queue.waiting.is_empty() && !queue.sending {
                return !queue.refused;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.0.changed.wait_timeout(queue, left);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, bring: &Bring) {
        let mut failures = 0;
        loop {
            let report = self.next();
            let told = bring(&report);
            let mut queue = self.lock();
            queue.sending = false;
            match told {
                Told::Arrived => failures = 0,
                Told::Refused(status) => {
                    say(&format!("the boot host takes no reports of this boot: {status}"));
                    (queue.refused, failures) = (true, 0);
                    queue.waiting.clear();
                }
                Told::Away(error) => {
                    if failures == 0 {
                        say(&format!("a report did not arrive and is sent again: {error}"));
                    }
                    queue.waiting.push_front(report);
                    failures += 1;
                }
            }
            drop(queue);
            self.0.changed.notify_all();
            if failures > 0 {
                thread::sleep(WAITS.wait(failures - 1, None, jitter()));
            }
        }
    }

    fn next(&self) -> Report {
        let mut queue = self.lock();
        loop {
            if let Some(report) = queue.waiting.pop_front() {
                queue.sending = true;
                return report;
            }
            queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use reqwest::StatusCode;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn trouble(what: usize) -> Step {
        Step::Trouble { what: what.to_string() }
    }

    #[test]
    fn reports_arrive_in_order_although_the_host_is_away_at_first() {
        let (sender, receiver) = mpsc::channel();
        let tries = Mutex::new(0);
        let reporter = Reporter::new(move |report| {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            if *tries < 2 {
                return Told::Away(io::Error::other("away"));
            }
            sender.send(report.step.clone()).unwrap();
            Told::Arrived
        });
        (0..5).for_each(|number| reporter.tell(trouble(number)));
        assert!(reporter.flush(PATIENCE));
        let arrived: Vec<Step> = receiver.try_iter().collect();
        assert_eq!(arrived, (0..5).map(trouble).collect::<Vec<_>>());
    }

    #[test]
    fn a_boot_host_that_refuses_is_left_alone() {
        let (sender, receiver) = mpsc::channel();
        let reporter = Reporter::new(move |_| {
            sender.send(()).unwrap();
            Told::Refused(StatusCode::NOT_FOUND)
        });
        reporter.tell(trouble(0));
        reporter.flush(PATIENCE);
        reporter.tell(trouble(1));
        assert!(!reporter.flush(PATIENCE));
        assert_eq!(receiver.try_iter().count(), 1);
    }

    #[test]
    fn without_room_the_oldest_goes() {
        let mut queue = Queue::default();
        for number in 0..MOST + 3 {
            queue.push(Report { uptime: 0, step: trouble(number) });
        }
        assert_eq!(queue.waiting.len(), MOST);
        assert_eq!(queue.waiting[0].step, trouble(3));
    }
}
