//! Samples, and their ratios. Ratios are taken round by round, of samples that
//! were taken one after the other; then the median counts.

use serde_json::Value;
use serde_json::json;

use crate::drive::Sample;

#[derive(Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    /// Figures that stand for themselves, with their unit.
    pub(crate) single: Vec<(String, f64, &'static str)>,
}

/// One server in one measure.
pub(crate) struct Row {
    pub(crate) measure: &'static str,
    pub(crate) server: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Results {
    pub(crate) fn add(
        &mut self,
        measure: &'static str,
        server: &'static str,
        unit: &'static str,
        sample: Sample,
    ) {
        let row = self.rows.iter_mut().find(|row| (row.measure, row.server) == (measure, server));
        match row {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row { measure, server, unit, samples: vec![sample] }),
        }
    }

    pub(crate) fn row(&self, measure: &str, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.measure == measure && row.server == server)
    }

    pub(crate) fn single(&self, name: &str) -> Option<f64> {
        self.single.iter().find(|single| single.0 == name).map(|single| single.1)
    }

    /// The ratio of what `server` did to what `other` did.
    pub(crate) fn ratio(&self, measure: &str, server: &str, other: &str) -> Option<Spread> {
        self.ratio_of(|sample| sample.per_second, (measure, server), (measure, other))
    }

    /// The same of the server's CPU time for each request.
    pub(crate) fn cost_ratio(&self, measure: &str, server: &str, other: &str) -> Option<Spread> {
        self.ratio_of(|sample| sample.server_micros, (measure, server), (measure, other))
    }

    fn ratio_of(
        &self,
        of: impl Fn(&Sample) -> f64,
        one: (&str, &str),
        other: (&str, &str),
    ) -> Option<Spread> {
        let (one, other) = (self.row(one.0, one.1)?, self.row(other.0, other.1)?);
        let pairs = one.samples.iter().zip(&other.samples);
        Spread::of(pairs.map(|(one, other)| of(one) / of(other)))
    }

    pub(crate) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let list = |of: fn(&Sample) -> f64| row.samples.iter().map(of).collect::<Vec<_>>();
            json!({
                "measure": row.measure,
                "server": row.server,
                "unit": row.unit,
                "median": row.spread(|sample| sample.per_second).map(|spread| spread.median),
                "samples": list(|sample| sample.per_second),
                "server_cpu_micros": list(|sample| sample.server_micros),
                "server_busy": list(|sample| sample.server_busy),
                "client_busy": list(|sample| sample.client_busy),
            })
        });
        let single = self.single.iter();
        let single =
            single.map(|(name, value, unit)| json!({"name": name, "value": value, "unit": unit}));
        json!({"rows": rows.collect::<Vec<_>>(), "figures": single.collect::<Vec<_>>()})
    }
}

impl Row {
    pub(crate) fn spread(&self, of: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples.iter().map(of))
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { least, median, most })
    }
}
