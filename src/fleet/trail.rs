//! The log of who did what, as lines for people: from the events of a gateway and from acts.
//! Boots are not among them. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::Act;
use super::By;
use super::EventId;
use super::Events;
use super::GatewayId;
use super::History;
use super::Kind;
use super::What;
use crate::foreign::Foreign;
use crate::identity::Fingerprint;
use crate::identity::GatewayName;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The event or act. Its order is that of the lines.
    pub id: EventId,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<GatewayId>,
    #[serde(flatten)]
    pub deed: Deed,
    /// Nobody, if the server did it by itself or an older version wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<Foreign>,
    /// The git commit that was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Foreign>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Foreign>,
}

/// The act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Deed {
    /// A generation was stored. `live`: at once the current one.
    Published { generation: u64, live: bool },
    /// A generation became the current one.
    Activated { generation: u64 },
    /// An earlier generation became the current one again.
    RolledBack { generation: u64 },
    /// A generation is served whatever its boots show.
    Pinned { generation: u64 },
    /// The pin was removed.
    Released,
    /// The files of a generation were given up.
    Dropped { generation: u64 },
    /// Of another kind.
    #[serde(untagged)]
    Other {
        what: What,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        fingerprints: Vec<Fingerprint>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rollout: Option<EventId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<Foreign>,
    },
}

impl Line {
    fn new(id: EventId, at: OffsetDateTime, by: Option<&By>, deed: Deed) -> Self {
        Self {
            id,
            at,
            gateway: None,
            gateway_id: None,
            deed,
            author: by.map(|by| by.author.clone()),
            commit: by.and_then(|by| by.commit.clone()),
            message: by.and_then(|by| by.message.clone()),
        }
    }
}

/// The line of an act.
pub fn of_act(id: EventId, act: &Act) -> Line {
    let deed = Deed::Other {
        what: act.what,
        fingerprints: act.fingerprints.clone(),
        rollout: act.rollout,
        detail: act.detail.clone(),
    };
    Line {
        gateway: act.gateway.clone(),
        gateway_id: act.gateway_id.clone(),
        ..Line::new(id, act.at, act.by.as_ref(), deed)
    }
}

/// The lines of a gateway's events, oldest first. Events that no longer matter are packed away, and
/// of old ones only the latest are left.
pub fn of_events(gateway: &GatewayName, gateway_id: &GatewayId, events: &Events) -> Vec<Line> {
    let history = History::fold(events);
    let number_of = |id: &EventId| history.by_id(*id).map(|generation| generation.number);
    let mut lines: Vec<Line> = Vec::new();
    let (mut current, mut were_live) = (0, BTreeSet::new());
    for (id, event) in events {
        let deed = match &event.kind {
            Kind::Published { .. } => {
                number_of(id).map(|generation| Deed::Published { generation, live: false })
            }
            Kind::Activated { generation } => number_of(generation).and_then(|number| {
                let again = !were_live.insert(number) || number < current;
                current = number;
                // `publish` does both in one go.
                if let Some(Line { deed: Deed::Published { generation, live }, at, .. }) =
                    lines.last_mut()
                    && (*generation, *at) == (number, event.at)
                {
                    *live = true;
                    return None;
                }
                Some(match again {
                    true => Deed::RolledBack { generation: number },
                    false => Deed::Activated { generation: number },
                })
            }),
            Kind::Pinned { generation } => {
                number_of(generation).map(|generation| Deed::Pinned { generation })
            }
            Kind::Released => Some(Deed::Released),
            Kind::Dropped { generation, .. } => {
                number_of(generation).map(|generation| Deed::Dropped { generation })
            }
            Kind::Booted { .. } | Kind::Acknowledged { .. } => None,
        };
        lines.extend(deed.map(|deed| Line {
            gateway: Some(gateway.clone()),
            gateway_id: Some(gateway_id.clone()),
            ..Line::new(*id, event.at, event.by.as_ref(), deed)
        }));
    }
    lines
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published { generation, live: true } => {
                write!(f, "published generation {generation}")
            }
            Self::Published { generation, live: false } => {
                write!(f, "published generation {generation} for later")
            }
            Self::Activated { generation } => write!(f, "generation {generation} went live"),
            Self::RolledBack { generation } => write!(f, "went back to generation {generation}"),
            Self::Pinned { generation } => write!(f, "pinned generation {generation}"),
            Self::Released => f.write_str("released the pin"),
            Self::Dropped { generation } => {
                write!(f, "gave up the files of generation {generation}")
            }
            Self::Other { what, fingerprints, rollout, detail } => {
                f.write_str(words(*what))?;
                if let Some(rollout) = rollout {
                    write!(f, " {}", rollout.short())?;
                }
                if let Some(detail) = detail {
                    write!(f, ": {detail}")?;
                }
                // Enough to tell a gateway's certificates apart.
                for fingerprint in fingerprints {
                    write!(f, " {:.12}", fingerprint.to_string())?;
                }
                Ok(())
            }
        }
    }
}

fn words(what: What) -> &'static str {
    match what {
        What::GatewayAdded => "added the gateway",
        What::GatewayRemoved => "removed the gateway",
        What::GatewayRenamed => "renamed the gateway",
        What::CertificateRenewed => "renewed",
        What::CertificateTakenOver => "renewed",
        What::CertificateRevoked => "revoked",
        What::GatewayChanged => "changed the gateway",
        What::KeyMade => "made a key for the bucket",
        What::KeyDeleted => "deleted a key of the bucket",
        What::KeyRotated => "ordered a new key for the bucket",
        What::RolloutBegun => "began rollout",
        What::RolloutStopped => "stopped rollout",
        What::RolloutFailed => "failed: rollout",
        What::RolloutTakenBack => "took back rollout",
        What::RolloutResumed => "resumed rollout",
        What::RolloutFinished => "finished: rollout",
        What::Unknown => "something that a newer farmgate knows",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use time::Duration;

    use super::*;
    use crate::fleet::Event;
    use crate::fleet::event::FORMAT;

    /// Appends an event at this second.
    fn append(events: &mut Events, second: i64, by: Option<By>, kind: Kind) -> EventId {
        let id = EventId::after(events.keys().next_back().copied(), 0);
        let at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(second);
        events.insert(id, Arc::new(Event { format: FORMAT, at, by, kind }));
        id
    }

    fn told(events: &Events) -> Vec<String> {
        let (name, id) = ("lab-1".parse().unwrap(), "lab-1-0a".parse().unwrap());
        of_events(&name, &id, events).iter().map(|line| line.deed.to_string()).collect()
    }

    #[test]
    fn events_are_told_in_the_words_of_the_commands() {
        let mut events = Events::new();
        let ada = || Some(By::new("ada").with_message("new kernel"));
        let files = BTreeMap::new;
        let publish = |events: &mut Events, number, second| {
            let kind = Kind::Published { number, files: files(), variables: BTreeMap::new() };
            append(events, second, ada(), kind)
        };
        let first = publish(&mut events, 1, 1);
        append(&mut events, 1, ada(), Kind::Activated { generation: first });
        let second = publish(&mut events, 2, 2);
        let boot = Kind::Booted { generation: first, certificate: None };
        append(&mut events, 3, None, boot);
        append(&mut events, 4, ada(), Kind::Activated { generation: second });
        append(&mut events, 5, None, Kind::Activated { generation: first });
        append(&mut events, 6, ada(), Kind::Pinned { generation: second });
        append(&mut events, 7, ada(), Kind::Released);
        assert_eq!(
            told(&events),
            [
                "published generation 1",
                "published generation 2 for later",
                "generation 2 went live",
                "went back to generation 1",
                "pinned generation 2",
                "released the pin",
            ]
        );
        let (name, id) = ("lab-1".parse().unwrap(), "lab-1-0a".parse().unwrap());
        let lines = of_events(&name, &id, &events);
        let json = serde_json::to_value(&lines[0]).unwrap();
        assert_eq!(json["what"], "published");
        assert_eq!(json["author"], "ada");
        assert_eq!(json["message"], "new kernel");
        // An older version wrote it.
        assert_eq!(lines[3].author, None);
    }

    #[test]
    fn an_act_is_told_without_what_it_does_not_say() {
        let by = By::new("ada");
        let rollout = EventId::after(None, 1);
        let act = Act::new(What::RolloutStopped, Some(&by), OffsetDateTime::UNIX_EPOCH)
            .in_rollout(rollout);
        let line = of_act(rollout, &act);
        assert_eq!(line.deed.to_string(), format!("stopped rollout {}", rollout.short()));
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["what"], "rollout-stopped");
        assert_eq!(json["rollout"], rollout.to_string());
        assert!(json.get("fingerprints").is_none() && json.get("gateway").is_none());
    }
}
