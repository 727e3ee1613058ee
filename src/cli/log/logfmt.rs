//! Log lines as `key=value` (brandur.org/logfmt): what Loki, Vector and lnav read.

use std::fmt;
use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::Event;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::field::Visit;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::FormatEvent;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::registry::LookupSpan;

/// One line: time, level, message and fields, then the fields of the spans around it.
pub(super) struct Line {
    pub(super) time: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.time {
            let now = OffsetDateTime::now_utc().format(&Rfc3339).map_err(|_| fmt::Error)?;
            write!(writer, "ts={now} ")?;
        }
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        write!(writer, "level={level}")?;
        context.format_fields(writer.by_ref(), event)?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                writer.write_str(fields)?;
            }
        }
        writeln!(writer)
    }
}

/// Fields, each with a space before it.
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { text: String::new() };
        fields.record(&mut visitor);
        writer.write_str(&visitor.text)
    }
}

struct Visitor {
    text: String,
}

impl Visitor {
    fn add(&mut self, field: &Field, value: &str) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '=';
        // To a string, which takes everything.
        let _ = match !value.is_empty() && value.chars().all(plain) {
            true => write!(self.text, " {name}={value}"),
            false => write!(self.text, " {name}={}", serde_json::Value::from(value)),
        };
    }
}

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}
