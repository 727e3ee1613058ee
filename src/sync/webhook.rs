//! Requests of a forge that something was pushed: are they its own, do they concern us, are they
//! new. The caller gives the time.
//!
//! The most that a genuine request can do is to start a look at the remote a little earlier, and
//! that changes nothing if nothing changed. So what is left to guard is the load: a request that was
//! heard before starts nothing for a while, and others only so often.

use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use sha2::Digest;
use sha2::Sha256;

use crate::config::Branch;

/// Largest request. Forges send up to 25 MB for a push of thousands of commits, and all of it has to
/// be read for the signature; such a push is found at the next look.
pub const MOST_BYTES: usize = 1024 * 1024;

/// Shortest secret: forges suggest longer ones, and a short one can be guessed from a request that
/// somebody has seen.
pub const SHORTEST_SECRET: usize = 16;

/// Name of the systemd credential with the secret.
pub const CREDENTIAL: &str = "sync-webhook";

/// Time for which requests are remembered, and their number.
const REMEMBERED: (Duration, usize) = (Duration::from_secs(600), 256);

/// Looks that requests can start at once, and the time after which there is one more.
const BURST: (u32, Duration) = (6, Duration::from_secs(10));

/// The headers of a request that count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `X-Hub-Signature-256`: GitHub, Gitea, Forgejo.
    pub signature: Option<&'a str>,
    /// `X-Gitlab-Token`.
    pub token: Option<&'a str>,
    /// `X-GitHub-Event` and its like.
    pub event: Option<&'a str>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look at the remote.
    Look,
    /// Genuine, and nothing to do: a test, another branch, another event, or heard before.
    Nothing,
    /// Genuine, and there were too many.
    TooMany,
    /// Genuine, and not JSON.
    Malformed,
    /// Not genuine.
    Refused,
}

/// The memory for requests.
#[derive(Debug, Default)]
pub struct Hooks {
    heard: VecDeque<([u8; 32], Instant)>,
    looks: VecDeque<Instant>,
}

#[derive(Deserialize)]
struct Push {
    r#ref: Option<String>,
}

impl Hooks {
    /// Judges one request.
    pub fn judge(
        &mut self,
        secret: &str,
        branch: &Branch,
        headers: Headers<'_>,
        body: &[u8],
        now: Instant,
    ) -> Verdict {
        if !is_genuine(secret, headers, body) {
            return Verdict::Refused;
        }
        match headers.event {
            None | Some("push" | "Push Hook") => {}
            Some(_) => return Verdict::Nothing,
        }
        let json = json(headers.content_type, body);
        let Ok(push) = serde_json::from_slice::<Push>(&json) else { return Verdict::Malformed };
        if push.r#ref.is_some_and(|reference| reference != branch.reference()) {
            return Verdict::Nothing;
        }
        let digest: [u8; 32] = Sha256::digest(body).into();
        self.heard.retain(|(_, at)| now.saturating_duration_since(*at) < REMEMBERED.0);
        if self.heard.iter().any(|(heard, _)| *heard == digest) {
            return Verdict::Nothing;
        }
        let (most, pause) = BURST;
        self.looks.retain(|at| now.saturating_duration_since(*at) < pause * most);
        if self.looks.len() >= most as usize {
            // Not remembered: the forge may send it again.
            return Verdict::TooMany;
        }
        self.looks.push_back(now);
        if self.heard.len() >= REMEMBERED.1 {
            self.heard.pop_front();
        }
        self.heard.push_back((digest, now));
        Verdict::Look
    }

    /// A look failed: whoever sends the same request again means it.
    pub fn forget(&mut self) {
        self.heard.clear();
    }
}

/// Compares in constant time. A request with a signature is judged by it alone.
fn is_genuine(secret: &str, headers: Headers<'_>, body: &[u8]) -> bool {
    if secret.len() < SHORTEST_SECRET {
        return false;
    }
    match (headers.signature, headers.token) {
        (Some(signature), _) => {
            let digits =
                signature.strip_prefix("sha256=").and_then(|digits| hex::decode(digits).ok());
            digits.is_some_and(|code| code_of(secret, body).verify_slice(&code).is_ok())
        }
        // The code of a text says nothing of how much of it was right, and has always one length.
        (None, Some(token)) => {
            let code = code_of(secret, token.as_bytes()).finalize().into_bytes();
            code_of(secret, secret.as_bytes()).verify_slice(&code).is_ok()
        }
        (None, None) => false,
    }
}

fn code_of(secret: &str, text: &[u8]) -> Hmac<Sha256> {
    // A key of any length is a key.
    let mut code = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes())
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    code.update(text);
    code
}

/// GitHub sends JSON, or a form with JSON in its one field, whichever was chosen there.
fn json(content_type: Option<&str>, body: &[u8]) -> Vec<u8> {
    let is_form =
        content_type.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let payload = is_form.then(|| body.strip_prefix(b"payload=")).flatten();
    match payload.and_then(|payload| std::str::from_utf8(payload).ok()) {
        Some(payload) => percent_decode_str(&payload.replace('+', " ")).collect(),
        None => body.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// GitHub's own example: "It's a Secret to Everybody", "Hello, World!".
    const GITHUB: (&str, &[u8], &str) = (
        "It's a Secret to Everybody",
        b"Hello, World!",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    );
    const PUSH: &[u8] = br#"{"ref": "refs/heads/main", "commits": [1, 2]}"#;
    const SECRET: &str = "a secret of enough length";

    fn main() -> Branch {
        "main".parse().unwrap()
    }

    fn signed(body: &[u8]) -> String {
        format!("sha256={}", hex::encode(code_of(SECRET, body).finalize().into_bytes()))
    }

    fn judge(hooks: &mut Hooks, headers: Headers<'_>, body: &[u8]) -> Verdict {
        hooks.judge(SECRET, &main(), headers, body, Instant::now())
    }

    #[test]
    fn the_signature_is_that_of_github() {
        let (secret, body, signature) = GITHUB;
        let headers = |signature| Headers { signature: Some(signature), ..Headers::default() };
        assert!(is_genuine(secret, headers(signature), body));
        let other = signature.replace("757", "758");
        for wrong in [&*other, "", "sha256=", "sha1=757107ea", &signature[..70], "sha256=\u{e9}"] {
            assert!(!is_genuine(secret, headers(wrong), body), "{wrong}");
        }
        assert!(!is_genuine(secret, headers(signature), b"Hello, World?"));
        assert!(!is_genuine("another secret of this length", headers(signature), body));
        // A right token does not stand in for a wrong signature, and no secret means no.
        let both = Headers { token: Some(secret), ..headers("sha256=00") };
        assert!(!is_genuine(secret, both, body));
        assert!(!is_genuine("", Headers { token: Some(""), ..Headers::default() }, body));
    }

    #[test]
    fn the_token_is_that_of_gitlab() {
        let headers =
            |token| Headers { token: Some(token), event: Some("Push Hook"), ..Headers::default() };
        assert_eq!(judge(&mut Hooks::default(), headers(SECRET), PUSH), Verdict::Look);
        for wrong in ["", "a secret of enough lengt", "a secret of enough length ", "x"] {
            assert_eq!(judge(&mut Hooks::default(), headers(wrong), PUSH), Verdict::Refused);
        }
        assert_eq!(judge(&mut Hooks::default(), Headers::default(), PUSH), Verdict::Refused);
    }

    #[test]
    fn only_a_push_to_the_branch_starts_a_look() {
        let form = format!(
            "payload={}",
            percent_encoding::utf8_percent_encode(
                std::str::from_utf8(PUSH).unwrap(),
                percent_encoding::NON_ALPHANUMERIC
            )
        );
        for (body, event, verdict) in [
            (PUSH, Some("push"), Verdict::Look),
            (PUSH, None, Verdict::Look),
            (PUSH, Some("ping"), Verdict::Nothing),
            (PUSH, Some("Tag Push Hook"), Verdict::Nothing),
            (br#"{"ref": "refs/heads/other"}"#, Some("push"), Verdict::Nothing),
            (br#"{"ref": "main"}"#, Some("push"), Verdict::Nothing),
            (b"{", Some("push"), Verdict::Malformed),
            (b"[]", Some("push"), Verdict::Malformed),
            (form.as_bytes(), Some("push"), Verdict::Look),
        ] {
            let signature = signed(body);
            let kind = body.starts_with(b"payload").then_some("application/x-www-form-urlencoded");
            let headers =
                Headers { signature: Some(&signature), event, content_type: kind, token: None };
            let text = String::from_utf8_lossy(body);
            assert_eq!(judge(&mut Hooks::default(), headers, body), verdict, "{text} {event:?}");
        }
    }

    #[test]
    fn what_was_heard_before_starts_nothing_and_others_only_so_often() {
        let (mut hooks, now) = (Hooks::default(), Instant::now());
        let mut hear = |body: &[u8], at: Instant| {
            let signature = signed(body);
            let headers = Headers { signature: Some(&signature), ..Headers::default() };
            hooks.judge(SECRET, &main(), headers, body, at)
        };
        let body = |number: u32| format!("{{\"n\": {number}}}").into_bytes();
        assert_eq!(hear(&body(0), now), Verdict::Look);
        assert_eq!(hear(&body(0), now), Verdict::Nothing);
        for number in 1..BURST.0 {
            assert_eq!(hear(&body(number), now), Verdict::Look);
        }
        assert_eq!(hear(&body(99), now), Verdict::TooMany);
        let later = now + BURST.1 * BURST.0;
        assert_eq!(hear(&body(99), later), Verdict::Look);
        assert_eq!(hear(&body(0), later), Verdict::Nothing);
        assert_eq!(hear(&body(0), now + REMEMBERED.0), Verdict::Look);
        hooks.forget();
        assert!(hooks.heard.is_empty());
    }

    proptest! {
        #[test]
        fn no_request_panics_and_the_memory_is_bounded(
            requests in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<String>(), 0..100u64), 0..50),
        ) {
            let (mut hooks, start) = (Hooks::default(), Instant::now());
            let mut looks = 0;
            for (body, signature, at) in &requests {
                let headers = Headers { signature: Some(signature), ..Headers::default() };
                prop_assert_eq!(hooks.judge(SECRET, &main(), headers, body, start), Verdict::Refused);
                let headers = Headers { token: Some(SECRET), ..Headers::default() };
                let body = format!("{{\"x\": {at}}}");
                let verdict = hooks.judge(SECRET, &main(), headers, body.as_bytes(), start + Duration::from_secs(*at));
                looks += u32::from(verdict == Verdict::Look);
                prop_assert!(hooks.heard.len() <= REMEMBERED.1 && hooks.looks.len() <= BURST.0 as usize);
            }
            prop_assert!(looks <= 100 / 10 + 2 * BURST.0);
        }
    }
}
