//! Goals for the figures.

use serde_json::Value;
use serde_json::json;

use crate::flat;
use crate::peers::NGINX_ALONE;
use crate::results::Results;

pub(crate) const OWN_TLS: &str = "farmgate, own TLS";
pub(crate) const BEHIND: &str = "farmgate behind nginx";

/// A figure and its bound.
pub(crate) struct Target {
    pub(crate) what: String,
    /// `None` if it was not measured.
    pub(crate) value: Option<f64>,
    pub(crate) bound: Bound,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn json(&self) -> Value {
        let (least, most) = match self.bound {
            Bound::AtLeast(least) => (Some(least), None),
            Bound::AtMost(most) => (None, Some(most)),
        };
        json!({
            "what": self.what,
            "value": self.value,
            "at_least": least,
            "at_most": most,
            "met": self.is_met(),
        })
    }

    pub(crate) fn is_met(&self) -> Option<bool> {
        Some(match self.bound {
            Bound::AtLeast(least) => self.value? >= least,
            Bound::AtMost(most) => self.value? <= most,
        })
    }
}

pub(crate) fn targets(results: &Results) -> Vec<Target> {
    let ratios = [
        ("handshake", OWN_TLS, NGINX_ALONE, 1.0),
        ("handshake", BEHIND, NGINX_ALONE, 0.9),
        ("kept", OWN_TLS, NGINX_ALONE, 0.5),
        ("kept", OWN_TLS, "Caddy", 1.0),
        ("kept", BEHIND, NGINX_ALONE, 0.35),
        ("kept", BEHIND, "Flask behind nginx", 6.0),
        ("asset", OWN_TLS, NGINX_ALONE, 1.0),
        ("asset", BEHIND, NGINX_ALONE, 0.97),
        ("boots", OWN_TLS, NGINX_ALONE, 1.0),
        ("boots-small", OWN_TLS, NGINX_ALONE, 1.0),
    ];
    let ratios = ratios.into_iter().map(|(measure, server, other, least)| Target {
        what: format!("{measure}: {server} / {other}"),
        value: results.ratio(measure, server, other).map(|spread| spread.median),
        bound: Bound::AtLeast(least),
    });
    let flat = [flat::GATEWAYS, flat::GENERATIONS].map(|fleet| Target {
        what: format!("flat: cost with {fleet} / with 10"),
        value: results.cost_ratio("flat", fleet, flat::BASE).map(|spread| spread.median),
        bound: Bound::AtMost(1.1),
    });
    let single = [
        (format!("syscalls total, {OWN_TLS}"), 20.0),
        (format!("syscalls futex, {OWN_TLS}"), 4.0),
        ("memory, 500 downloads".to_owned(), 40.0),
    ];
    let single = single.map(|(what, most)| Target {
        value: results.single(&what),
        what,
        bound: Bound::AtMost(most),
    });
    ratios.chain(flat).chain(single).filter(|target| target.value.is_some()).collect()
}
