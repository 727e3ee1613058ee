//! Messages on stderr: for people, or for systemd's journal.

use std::fmt;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

use tracing::Level;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging from this level on, unless `FARMGATE_LOG` overrides it.
pub(super) fn start(level: &str) {
    let filter = EnvFilter::try_from_env("FARMGATE_LOG")
        // rustls warns about every gateway that asks for a boot host by its IP address. Problems of
        // a store's certificate are reported once, by the code that contacted the store.
        .unwrap_or_else(|_| {
            let quiet = "rustls=error,rustls_platform_verifier=off";
            EnvFilter::new(format!("warn,{quiet},farmgate={level}"))
        });
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    if is_journal() {
        // The journal adds its own time stamps.
        log.without_time().with_writer(Journal).init()
    } else {
        log.with_writer(io::stderr).init()
    }
}

/// Prints why the program failed, in one line.
pub(super) fn failure(why: &dyn fmt::Display) {
    let text = format!("farmgate: {why}\n");
    // If stderr is closed, there is nowhere to report that.
    let _ = if is_journal() {
        Lines(Level::ERROR).write_all(text.as_bytes())
    } else {
        io::stderr().write_all(text.as_bytes())
    };
}

/// Says whether stderr leads to the journal. The variable alone does not tell: processes with
/// another stderr inherit it, too (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}

struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        Lines(Level::INFO)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Lines {
        Lines(*metadata.level())
    }
}

/// Begins each line with its priority (sd-daemon(3)), so that `journalctl -p warning` finds it.
struct Lines(Level);

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let priority: &[u8] = match self.0 {
            Level::ERROR => b"<3>",
            Level::WARN => b"<4>",
            Level::INFO => b"<6>",
            Level::DEBUG | Level::TRACE => b"<7>",
        };
        let mut lines = Vec::with_capacity(text.len() + 8);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            lines.extend_from_slice(priority);
            lines.extend_from_slice(line);
        }
        // One write, since other threads write, too.
        io::stderr().write_all(&lines)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
