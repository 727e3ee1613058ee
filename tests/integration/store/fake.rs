//! A store that misbehaves: answers just what it is told to.

use std::collections::BTreeMap;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::common::write_private;

pub(super) const SECRET: &str = "unmistakable-secret-access-key";

/// What is answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Nothing, and the connection stays.
    Silence,
    /// These bytes; then the end, or silence.
    Raw { bytes: Vec<u8>, wait: bool },
}

impl Answer {
    pub(super) fn raw(text: &str) -> Self {
        Self::Raw { bytes: text.as_bytes().to_vec(), wait: false }
    }

    pub(super) fn status(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::raw(&format!(
            "HTTP/1.1 {status} Some\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// An object.
    pub(super) fn object(body: &[u8]) -> Self {
        let head = head(body.len());
        Self::Raw { bytes: [head.as_bytes(), body].concat(), wait: false }
    }

    /// The answer to `HEAD` for an object of this size.
    pub(super) fn facts(size: usize) -> Self {
        Self::raw(&head(size))
    }

    /// Of a store that is well, and keeps nothing.
    pub(super) fn well(request: &str) -> Self {
        if request.contains("list-type=") {
            return Self::status(200, "<ListBucketResult></ListBucketResult>");
        }
        Self::object(b"")
    }

    pub(super) fn header(self, name: &str, value: &str) -> Self {
        let Self::Raw { bytes, wait } = self else { return self };
        let text = String::from_utf8(bytes).unwrap();
        let (first, rest) = text.split_once("\r\n").unwrap();
        let bytes = format!("{first}\r\n{name}: {value}\r\n{rest}").into_bytes();
        Self::Raw { bytes, wait }
    }

    pub(super) fn and_wait(self) -> Self {
        let Self::Raw { bytes, .. } = self else { return self };
        Self::Raw { bytes, wait: true }
    }
}

fn head(size: usize) -> String {
    head_since(size, SystemTime::UNIX_EPOCH)
}

fn head_since(size: usize, came: SystemTime) -> String {
    let came = httpdate::fmt_http_date(came);
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"x\"\r\nContent-Length: {size}\r\n\
         Last-Modified: {came}\r\n\r\n"
    )
}

pub(super) struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    objects: Objects,
}

/// What a bucket keeps: bytes, and when they came.
type Objects = Arc<Mutex<BTreeMap<String, (Vec<u8>, SystemTime)>>>;

impl Fake {
    /// `answer` is asked with the request's first line.
    pub(super) fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_slow(Duration::ZERO, answer)
    }

    /// The same, with a pause after each 64 KiB of a body that it reads.
    pub(super) fn start_slow(
        pause: Duration,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_reading(pause, move |request, _| answer(request))
    }

    /// `answer` gets the request's body, too.
    fn start_reading(
        pause: Duration,
        answer: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || serve(stream, pause, &log, &*answer));
            }
        });
        Self { address, asked, objects: Objects::default() }
    }

    /// A bucket that works: it keeps what it is given.
    pub(super) fn keeping() -> Self {
        Self::keeping_unless(|_| None)
    }

    /// The same, but for the requests that `instead` answers.
    pub(super) fn keeping_unless(
        instead: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let objects = Objects::default();
        let kept = objects.clone();
        let fake = Self::start_reading(Duration::ZERO, move |request, body| {
            instead(request).unwrap_or_else(|| keep(&mut kept.lock().unwrap(), request, body))
        });
        Self { objects, ..fake }
    }

    /// As if all that is in the bucket had been there for so long.
    pub(super) fn age(&self, by: Duration) {
        for (_, came) in self.objects.lock().unwrap().values_mut() {
            *came -= by;
        }
    }

    /// The keys of all objects.
    pub(super) fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    /// Loses objects.
    pub(super) fn lose(&self, which: impl Fn(&str) -> bool) {
        self.objects.lock().unwrap().retain(|key, _| !which(key));
    }

    /// The first lines of all requests since this was last called.
    pub(super) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Requests so far that wanted something.
    pub(super) fn asked(&self) -> usize {
        self.asked_for("GET ")
    }

    /// Requests so far whose first line begins so.
    pub(super) fn asked_for(&self, start: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.starts_with(start)).count()
    }

    pub(super) fn store_config(&self) -> String {
        store_config(self.address)
    }
}

/// What a bucket does with a request, of S3's as much as the replica uses.
fn keep(
    objects: &mut BTreeMap<String, (Vec<u8>, SystemTime)>,
    request: &str,
    body: &[u8],
) -> Answer {
    let mut words = request.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let key = path.trim_start_matches("/farm").trim_start_matches('/').to_owned();
    let found = objects.get(&key);
    match method {
        "GET" if query.contains("list-type=") => {
            let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix="));
            let prefix = prefix.unwrap_or_default().replace("%2F", "/");
            let listed = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
            let listed = listed.map(|(key, (bytes, came))| {
                let came = OffsetDateTime::from(*came).format(&Rfc3339).unwrap();
                format!(
                    "<Contents><Key>{key}</Key><Size>{}</Size>\
                     <LastModified>{came}</LastModified></Contents>",
                    bytes.len()
                )
            });
            let listed: String = listed.collect();
            Answer::status(200, &format!("<ListBucketResult>{listed}</ListBucketResult>"))
        }
        "GET" => found.map_or_else(|| Answer::status(404, ""), |(bytes, _)| Answer::object(bytes)),
        "HEAD" => found.map_or_else(
            || Answer::status(404, ""),
            |(bytes, came)| Answer::raw(&head_since(bytes.len(), *came)),
        ),
        "PUT" => {
            objects.insert(key, (body.to_vec(), SystemTime::now()));
            Answer::object(b"")
        }
        "POST" if query.contains("delete") => {
            let body = String::from_utf8_lossy(body);
            let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
            let deleted: String = keys
                .map(|(key, _)| {
                    objects.remove(key);
                    format!("<Deleted><Key>{key}</Key></Deleted>")
                })
                .collect();
            Answer::status(200, &format!("<DeleteResult>{deleted}</DeleteResult>"))
        }
        _ => Answer::status(405, ""),
    }
}

fn serve(
    mut stream: TcpStream,
    pause: Duration,
    log: &Mutex<Vec<String>>,
    answer: &dyn Fn(&str, &[u8]) -> Answer,
) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    // What is not read makes the kernel reset the connection, answer and all.
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut left: u64 = length.and_then(|length| length.parse().ok()).unwrap_or_default();
    let mut body = Vec::new();
    while left > 0 {
        match io::copy(&mut (&stream).take(left.min(64 * 1024)), &mut body) {
            Ok(read) if read > 0 => left -= read,
            _ => return,
        }
        std::thread::sleep(pause);
    }
    let first = head.lines().next().unwrap_or_default();
    log.lock().unwrap().push(first.to_owned());
    match answer(first, &body) {
        Answer::Silence => std::thread::sleep(Duration::from_secs(60)),
        Answer::Raw { bytes, wait } => {
            let _ = stream.write_all(&bytes);
            if wait {
                std::thread::sleep(Duration::from_secs(60));
            }
        }
    }
}

/// `[store]` for whatever listens at `address`.
pub(super) fn store_config(address: SocketAddr) -> String {
    let dir = tempfile::tempdir().unwrap().keep();
    let key = dir.join("key");
    let text = format!("access-key-id = \"GK1\"\nsecret-access-key = \"{SECRET}\"\n");
    write_private(&key, &text);
    format!(
        "url = \"s3://farm/hosts\"\nendpoint = \"http://{address}\"\nregion = \"garage\"\n\
         timeout = \"2s\"\ninterval = \"1s\"\ncredentials = \"{}\"",
        key.display()
    )
}
