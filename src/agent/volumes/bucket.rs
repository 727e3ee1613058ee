//! The gateway's bucket: lists, reads and writes objects by S3. Network.
//!
//! Signatures, addresses and lists are those of rusty-s3, which does no input and output: the
//! requests go through the agent's own client.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::thread;
use std::time::Duration;

use rusty_s3::Bucket as Signed;
use rusty_s3::Credentials;
use rusty_s3::S3Action;
use rusty_s3::UrlStyle;
use rusty_s3::actions::CreateMultipartUpload;
use rusty_s3::actions::ListObjectsV2;

use super::key::Key;
use super::plan::Object;
use super::plan::Objects;
use crate::agent::http::Answer;
use crate::agent::http::Body;
use crate::agent::http::Client;
use crate::backoff::Backoff;
use crate::foreign::Foreign;

/// Time that a signed address is good.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// Attempts at a request, and the waits between them.
const ATTEMPTS: u32 = 3;
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(2));

/// Most objects that are mirrored.
const MOST: usize = 100_000;

/// Objects of more bytes are sent in parts of as many.
pub(super) const PART: usize = 8 << 20;

/// Most bytes of a list or of an error.
const MOST_TEXT: u64 = 8 << 20;

/// Names of the permissions and the owner of a file, kept with its object.
const MODE: &str = "x-amz-meta-farmgate-mode";
const OWNER: &str = "x-amz-meta-farmgate-owner";

/// The bucket of the gateway, and the key for it.
pub struct Bucket {
    http: Client,
    signed: Signed,
    credentials: Credentials,
}

/// The place of a bucket, and the key that opens it.
pub struct Access<'a> {
    pub endpoint: &'a str,
    pub region: Option<&'a str>,
    pub bucket: &'a str,
    pub key_id: &'a str,
    pub key: &'a str,
}

/// All objects of a bucket.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) objects: Objects,
    /// Keys that cannot be the paths of files: nothing is done with them.
    pub(super) strange: Vec<Foreign>,
}

/// Permissions and owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rights {
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
}

/// An object that is being read.
pub(super) struct Found {
    pub(super) tag: String,
    pub(super) rights: Option<Rights>,
    pub(super) body: Body,
}

impl Bucket {
    /// A bucket that is asked through `http`.
    pub fn new(http: Client, access: &Access<'_>) -> io::Result<Self> {
        let wrong = || io::Error::other("the address of the bucket is none");
        let endpoint = access.endpoint.parse().map_err(|_| wrong())?;
        let region = access.region.unwrap_or("us-east-1").to_owned();
        let signed = Signed::new(endpoint, UrlStyle::Path, access.bucket.to_owned(), region);
        let credentials = Credentials::new(access.key_id, access.key);
        Ok(Self { http, signed: signed.map_err(|_| wrong())?, credentials })
    }

    /// Every object, or an error: a part of a list is none.
    pub(super) fn list(&self) -> io::Result<Listing> {
        let (mut keys, mut listing) = (BTreeMap::new(), Listing::default());
        let mut token = None;
        loop {
            let mut action = self.signed.list_objects_v2(Some(&self.credentials));
            if let Some(token) = &token {
                action.with_continuation_token(String::clone(token));
            }
            let url = action.sign(SIGNED_FOR);
            let text = self.retried(|| text(self.http.get(url.as_str(), &[])?))?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|_| io::Error::other("the bucket's list cannot be read"))?;
            for object in page.contents {
                let (Some(tag), Some(size)) = (object.etag, object.size) else {
                    return Err(io::Error::other("the bucket's list says not enough"));
                };
                match Key::parse(&object.key) {
                    Ok(key) => drop(keys.insert(key, Object { tag: bare(&tag), size })),
                    // Some programs make these for directories.
                    Err(_) if size == 0 && object.key.ends_with('/') => {}
                    Err(_) => listing.strange.push(Foreign::new(&object.key)),
                }
            }
            if keys.len() > MOST {
                return Err(io::Error::other(format!("the bucket has more than {MOST} objects")));
            }
            token = page.next_continuation_token;
            if token.is_none() {
                break;
            }
        }
        // A file cannot be a directory as well.
        let (fit, unfit): (BTreeMap<_, _>, BTreeMap<_, _>) = keys
            .iter()
            .map(|(key, object)| (key.clone(), object.clone()))
            .partition(|(key, _)| !key.above().any(|above| keys.contains_key(&above)));
        listing.strange.extend(unfit.into_keys().map(|key| Foreign::new(key.as_str())));
        listing.objects = fit;
        Ok(listing)
    }

    /// Opens an object.
    pub(super) fn get(&self, key: &Key) -> io::Result<Found> {
        let url = self.signed.get_object(Some(&self.credentials), key.as_str()).sign(SIGNED_FOR);
        let answer = self.retried(|| good(self.http.get(url.as_str(), &[])?))?;
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let tag = bare(header("etag").unwrap_or_default());
        let rights = header(MODE).zip(header(OWNER)).and_then(|(mode, owner)| {
            let (user, group) = owner.split_once(':')?;
            let mode = u32::from_str_radix(mode, 8).ok()? & super::tree::MODE;
            Some(Rights { mode, owner: (user.parse().ok()?, group.parse().ok()?) })
        });
        Ok(Found { tag, rights, body: answer.body })
    }

    /// Writes an object from `content`, of at most [`PART`] bytes. Returns its tag.
    pub(super) fn put(&self, key: &Key, rights: Rights, content: &[u8]) -> io::Result<String> {
        let (mode, owner) = written(rights);
        let mut action = self.signed.put_object(Some(&self.credentials), key.as_str());
        action.headers_mut().insert(MODE, mode.clone());
        action.headers_mut().insert(OWNER, owner.clone());
        let (url, headers) = (action.sign(SIGNED_FOR), [(MODE, &*mode), (OWNER, &*owner)]);
        let put = || good(self.http.put(url.as_str(), &headers, content.to_vec())?);
        tag(&self.retried(put)?)
    }

    /// Writes an object in parts, unless `unchanged` says before the object is made of them that
    /// they are of different times.
    pub(super) fn put_parts(
        &self,
        key: &Key,
        rights: Rights,
        mut content: impl Read,
        unchanged: impl FnOnce() -> io::Result<bool>,
    ) -> io::Result<Option<String>> {
        let credentials = Some(&self.credentials);
        let (mode, owner) = written(rights);
        let mut action = self.signed.create_multipart_upload(credentials, key.as_str());
        action.headers_mut().insert(MODE, mode.clone());
        action.headers_mut().insert(OWNER, owner.clone());
        let (url, headers) = (action.sign(SIGNED_FOR), [(MODE, &*mode), (OWNER, &*owner)]);
        let begun = text(self.http.post(url.as_str(), &headers, Vec::new())?)?;
        let begun = CreateMultipartUpload::parse_response(&begun)
            .map_err(|_| io::Error::other("the bucket begins no upload"))?;
        let upload = begun.upload_id();
        let mut send = || -> io::Result<Vec<String>> {
            let mut tags = Vec::new();
            loop {
                let mut part = Vec::new();
                content.by_ref().take(PART as u64).read_to_end(&mut part)?;
                if part.is_empty() {
                    break;
                }
                let number = u16::try_from(tags.len() + 1).map_err(|_| too_large())?;
                let action = self.signed.upload_part(credentials, key.as_str(), number, upload);
                let url = action.sign(SIGNED_FOR);
                let put = || good(self.http.put(url.as_str(), &[], part.clone())?);
                tags.push(tag(&self.retried(put)?)?);
            }
            Ok(tags)
        };
        let finish = |tags: Vec<String>| -> io::Result<Option<String>> {
            if !unchanged()? {
                return Ok(None);
            }
            let tags = tags.iter().map(String::as_str);
            let action =
                self.signed.complete_multipart_upload(credentials, key.as_str(), upload, tags);
            let (url, body) = (action.sign(SIGNED_FOR), action.body());
            let done = text(self.http.post(url.as_str(), &[], body.into_bytes())?)?;
            let between = |from, to| Some(done.split_once(from)?.1.split_once(to)?.0);
            let tag = between("<ETag>", "</ETag>");
            let tag = tag.ok_or_else(|| io::Error::other("the bucket did not end the upload"))?;
            Ok(Some(bare(&tag.replace("&quot;", "\"").replace("&#34;", "\""))))
        };
        let sent = send().and_then(finish);
        if !matches!(sent, Ok(Some(_))) {
            // What was sent would cost for ever.
            let action = self.signed.abort_multipart_upload(credentials, key.as_str(), upload);
            let _ = self.http.delete(action.sign(SIGNED_FOR).as_str());
        }
        sent
    }

    /// Writes an object under any key, as other programs can.
    #[cfg(test)]
    pub(super) fn put_as(&self, key: &str, content: &[u8]) {
        let url = self.signed.put_object(Some(&self.credentials), key).sign(SIGNED_FOR);
        let answer = self.http.put(url.as_str(), &[], content.to_vec()).unwrap();
        assert!(answer.status.is_success(), "{}", answer.status);
    }

    /// Deletes an object; one that is not there is no error.
    pub(super) fn delete(&self, key: &Key) -> io::Result<()> {
        let action = self.signed.delete_object(Some(&self.credentials), key.as_str());
        let url = action.sign(SIGNED_FOR);
        self.retried(|| good(self.http.delete(url.as_str())?)).map(drop)
    }

    /// Tries again what may go well the next time.
    fn retried<T>(&self, ask: impl Fn() -> Result<T, Failure>) -> io::Result<T> {
        let mut failures = 0;
        loop {
            match ask() {
                Ok(answer) => return Ok(answer),
                Err(Failure { passing: true, .. }) if failures + 1 < ATTEMPTS => {
                    thread::sleep(WAITS.wait(failures, None, 0.0));
                    failures += 1;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}

/// The reason why a request failed.
struct Failure {
    what: io::Error,
    /// True if it may go well the next time.
    passing: bool,
}

impl From<io::Error> for Failure {
    fn from(what: io::Error) -> Self {
        Self { what, passing: true }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        failure.what
    }
}

/// The answer if it is a good one, or what the bucket says.
fn good(answer: Answer) -> Result<Answer, Failure> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    let said = answer.bytes(MOST_TEXT).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let code = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map_or_else(Foreign::default, |(code, _)| Foreign::shorter(code, 40));
    let what = io::Error::other(format!("the bucket answers {} {code}", status.as_u16()));
    Err(Failure { what, passing: status.is_server_error() || status.as_u16() == 429 })
}

fn text(answer: Answer) -> Result<String, Failure> {
    let bytes = good(answer)?.bytes(MOST_TEXT)?;
    let wrong =
        |_| Failure { what: io::Error::other("the bucket speaks no UTF-8"), passing: false };
    String::from_utf8(bytes).map_err(wrong)
}

fn tag(answer: &Answer) -> io::Result<String> {
    let tag = answer.headers.get("etag").and_then(|tag| tag.to_str().ok());
    tag.map(bare).ok_or_else(|| io::Error::other("the bucket says no tag"))
}

/// A tag without quotes: lists and headers do not agree about them.
fn bare(tag: &str) -> String {
    tag.trim_matches('"').to_owned()
}

fn written(rights: Rights) -> (String, String) {
    let Rights { mode, owner: (user, group) } = rights;
    (format!("{mode:o}"), format!("{user}:{group}"))
}

fn too_large() -> io::Error {
    io::Error::other("it is too large for a bucket")
}
