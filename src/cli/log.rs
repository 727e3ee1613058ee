//! Messages on stderr: for people, for systemd's journal, or for a program that collects them.

mod logfmt;

use std::fmt;
use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use tracing::Level;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// key=value
    Logfmt,
    /// One JSON object a line
    Json,
}

static FORMAT: OnceLock<Format> = OnceLock::new();

/// Starts logging from this level on, unless `FARMGATE_LOG` or `RUST_LOG` says otherwise.
pub(super) fn start(level: &str, format: Format) {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let wanted = set("FARMGATE_LOG").or_else(|| set("RUST_LOG"));
    let filter = wanted.and_then(|wanted| EnvFilter::try_new(wanted).ok()).unwrap_or_else(|| {
        // rustls warns about every gateway that asks for a boot host by its IP address. Problems of
        // a store's certificate are reported once, by the code that contacted the store.
        let quiet = "rustls=error,rustls_platform_verifier=off";
        EnvFilter::new(format!("warn,{quiet},farmgate={level}"))
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // The journal adds its own time stamps.
    let is_journal = is_journal();
    let writer =
        if is_journal { BoxMakeWriter::new(Journal) } else { BoxMakeWriter::new(io::stderr) };
    let log = log.with_writer(writer);
    match format {
        Format::Text => {
            let log = log.with_ansi(io::stderr().is_terminal() && !is_journal).with_target(false);
            if is_journal { log.without_time().init() } else { log.init() }
        }
        Format::Logfmt => {
            log.fmt_fields(logfmt::Fields).event_format(logfmt::Line { time: !is_journal }).init();
        }
        Format::Json => {
            let log = log.json().flatten_event(true).with_target(false);
            if is_journal { log.without_time().init() } else { log.init() }
        }
    }
    let _ = FORMAT.set(format);
}

/// Prints why the program failed, in one line, whatever the level of the log.
pub(super) fn failure(why: &dyn fmt::Display) {
    let for_programs = FORMAT.get().is_some_and(|format| *format != Format::Text);
    if for_programs && tracing::enabled!(target: "farmgate", Level::ERROR) {
        tracing::error!(target: "farmgate", "{why}");
        return;
    }
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
