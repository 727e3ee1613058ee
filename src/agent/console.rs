//! The agent's words: on every console of the kernel, and kept for the report of a failure.

use std::collections::VecDeque;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::fs::OFlags;

use super::progress::uptime;
use crate::foreign::harmless_lines;
use crate::profile::report::MAX_CONSOLE;

/// The longest line of a container.
pub const LONGEST_LINE: usize = 2000;
/// Lines of containers per second on the consoles, which may be slow serial lines. All of them are
/// kept for the report.
const MOST_LINES: u32 = 20;
/// Of the report, the kernel's share.
const KERNEL: usize = 16 * 1024;

/// The lines and the consoles of this process.
struct Console {
    consoles: Vec<File>,
    lines: Lines,
    second: u64,
    shown: u32,
}

/// The last lines, of a limited size together.
#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    size: usize,
}

impl Lines {
    fn push(&mut self, line: String) {
        self.size += line.len() + 1;
        self.lines.push_back(line);
        while self.size > MAX_CONSOLE {
            let Some(first) = self.lines.pop_front() else { break };
            self.size -= first.len() + 1;
        }
    }

    /// The last of them, together of at most `most` bytes.
    fn tail(&self, most: usize) -> String {
        let mut size = 0;
        let fits = |line: &&String| {
            size += line.len() + 1;
            size <= most
        };
        let mut last: Vec<&str> =
            self.lines.iter().rev().take_while(fits).map(String::as_str).collect();
        last.reverse();
        last.join("\n")
    }
}

fn global() -> &'static Mutex<Console> {
    static CONSOLE: OnceLock<Mutex<Console>> = OnceLock::new();
    CONSOLE.get_or_init(|| {
        let console = Console { consoles: open(), lines: Lines::default(), second: 0, shown: 0 };
        Mutex::new(console)
    })
}

fn open() -> Vec<File> {
    let listed = fs::read_to_string("/proc/consoles").unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names
        .filter_map(|name| {
            let mut options = OpenOptions::new();
            // A process without a terminal would get this one for its own, and its signals.
            options.write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed());
            options.open(format!("/dev/{name}")).ok()
        })
        .collect()
}

/// Says a line.
pub fn say(text: &str) {
    let line = format!("farmgate-agent: {}", harmless_lines(text));
    let mut console = global().lock().unwrap_or_else(PoisonError::into_inner);
    console.show(&line);
    console.lines.push(line);
}

/// Says what a container says.
pub fn say_of(container: &str, text: &str) {
    let line = format!("{container}| {}", harmless_lines(text));
    let mut console = global().lock().unwrap_or_else(PoisonError::into_inner);
    let second = uptime().as_secs();
    if console.second != second {
        (console.second, console.shown) = (second, 0);
    }
    console.shown += 1;
    if console.shown <= MOST_LINES {
        console.show(&line);
    }
    console.lines.push(line);
}

/// Takes what the libraries log, line by line.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        String::from_utf8_lossy(bytes).lines().for_each(say);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Has the agent's own modules log here.
pub fn log_here() {
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_writer(|| Log)
        .with_ansi(false)
        .with_target(false)
        .with_level(false)
        .without_time()
        .finish();
    // Only the first one counts.
    let _ = tracing::subscriber::set_global_default(log);
}

impl Console {
    fn show(&mut self, line: &str) {
        for console in &mut self.consoles {
            // One write: the kernel's own lines come between.
            let _ = console.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// The last lines of the kernel, of the agent and of the containers, for a report.
pub fn tail() -> String {
    let kernel = kernel_lines(&kernel_log());
    let mut kept = Lines::default();
    kernel.into_iter().for_each(|line| kept.push(line));
    let kernel = kept.tail(KERNEL);
    let own = global().lock().unwrap_or_else(PoisonError::into_inner);
    let own = own.lines.tail(MAX_CONSOLE - kernel.len() - 1);
    format!("{kernel}\n{own}")
}

/// The records of the kernel's log, each as `/dev/kmsg` has it.
fn kernel_log() -> Vec<String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let Ok(mut log) = options.open("/dev/kmsg") else { return Vec::new() };
    let mut records = Vec::new();
    // One read, one record. A record that was overwritten meanwhile is an error.
    let mut record = [0; 8192];
    for _ in 0..100_000 {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => records.push(String::from_utf8_lossy(&record[..length]).into_owned()),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            Err(_) => break,
        }
    }
    records
}

/// `[seconds] text` for records `priority,number,microseconds,flags;text`.
fn kernel_lines(records: &[String]) -> Vec<String> {
    let line = |record: &String| {
        let (head, text) = record.split_once(';')?;
        let time = Duration::from_micros(head.split(',').nth(2)?.parse().ok()?);
        let text = text.lines().next()?;
        Some(format!("[{:.3}] {}", time.as_secs_f64(), harmless_lines(text)))
    };
    records.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_of_the_kernel_are_read() {
        let records = ["6,1,1500000,-;Linux version 6.1\n SUBSYSTEM=x\n", "4,2,x,-;a", "none"];
        let lines = kernel_lines(&records.map(str::to_owned));
        assert_eq!(lines, ["[1.500] Linux version 6.1"]);
    }

    proptest! {
        // Each case makes thousands of random characters.
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_last_lines_are_kept(lines in prop::collection::vec("[a-z]{0,400}", 0..400)) {
            let mut kept = Lines::default();
            lines.iter().for_each(|line| kept.push(line.clone()));
            let tail = kept.tail(MAX_CONSOLE);
            prop_assert!(tail.len() <= MAX_CONSOLE);
            prop_assert!(lines.join("\n").ends_with(&tail));
            prop_assert!(tail.len() + 402 > MAX_CONSOLE.min(lines.join("\n").len()));
            prop_assert!(kept.tail(100).len() <= 100);
        }
    }
}
