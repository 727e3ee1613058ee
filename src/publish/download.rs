//! Fetches files by URL into blobs, and verifies them while they come. Network.

use std::cell::OnceCell;
use std::io;
use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use anyhow::ensure;
use reqwest::Client;
use reqwest::Response;
use reqwest::Url;
use reqwest::redirect::Policy;
use sha2::Digest;
use sha2::Sha256;
use tokio::runtime::Runtime;

use crate::fleet::Asset;
use crate::fleet::BlobId;
use crate::foreign::Foreign;
use crate::http_client;
use crate::profile::download::Download;
use crate::profile::download::is_private;
use crate::store::blobs::Blobs;

/// Largest file that is fetched.
const MAX_SIZE: u64 = 4 * 1024 * 1024 * 1024;

/// Longest wait for a connection, and for the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);

const MAX_REDIRECTS: usize = 5;

const USER_AGENT: &str = concat!("farmgate/", env!("CARGO_PKG_VERSION"));

/// Fetches files, one after the other. Not from within asynchronous code.
#[derive(Default)]
pub struct Downloads {
    /// Made for the first file that is not here.
    fetcher: OnceCell<Fetcher>,
}

struct Fetcher {
    runtime: Runtime,
    client: Client,
}

impl Fetcher {
    fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start fetching")?;
        let tls = http_client::believing_the_system().or_else(http_client::trusting_nobody);
        let tls = tls.context("TLS cannot be set up")?;
        let redirect =
            Policy::custom(|attempt| match redirects(attempt.previous(), attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(why) => attempt.error(why),
            });
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .user_agent(USER_AGENT)
            .redirect(redirect)
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .build()
            .context("cannot start fetching")?;
        Ok(Self { runtime, client })
    }

    fn open(&self, download: &Download) -> Result<Body<'_>> {
        let request = self.client.get(download.url.url().clone());
        // Its timers need the runtime already when it is made.
        let response = self.runtime.block_on(async { request.send().await }).map_err(plain)?;
        let status = response.status();
        ensure!(status.is_success(), "the server answered {status}");
        let length = response.content_length().unwrap_or(0);
        ensure!(length <= MAX_SIZE, "it has {length} bytes, and {MAX_SIZE} is the limit");
        Ok(Body { runtime: &self.runtime, response, left: Vec::new().into() })
    }
}

impl Downloads {
    /// Fetches a file into a blob, unless it is there. `progress` gets the number of bytes.
    pub fn fetch(
        &self,
        download: &Download,
        blobs: &Blobs,
        progress: &dyn Fn(u64),
    ) -> Result<Asset> {
        if let Some(asset) = present(blobs, download.sha256) {
            return Ok(asset);
        }
        let cannot = || format!("cannot fetch {}", download.url);
        let body = self.fetcher()?.open(download).with_context(cannot)?;
        let expected = download.sha256;
        let body = Verified { body, expected, hasher: Sha256::new(), size: 0, progress };
        let (sha256, size) = blobs.add(body).with_context(cannot)?;
        Ok(Asset { sha256, size })
    }

    fn fetcher(&self) -> Result<&Fetcher> {
        match self.fetcher.get() {
            Some(fetcher) => Ok(fetcher),
            None => {
                let fetcher = Fetcher::new()?;
                Ok(self.fetcher.get_or_init(|| fetcher))
            }
        }
    }
}

/// The blob with this digest, if it is there and whole.
pub fn present(blobs: &Blobs, sha256: BlobId) -> Option<Asset> {
    let asset = Asset { sha256, size: blobs.size(&sha256).ok()? };
    blobs.verify(&asset).ok().map(|()| asset)
}

/// The message of reqwest, without the URL: a redirect may have put a token into it.
fn plain(error: reqwest::Error) -> anyhow::Error {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    // The first one repeats the address.
    while let Some(error) = cause.and_then(std::error::Error::source) {
        text = error.to_string();
        cause = Some(error);
    }
    let text = if text.is_empty() { error.without_url().to_string() } else { text };
    anyhow::anyhow!("{}", Foreign::new(&text))
}

fn redirects(previous: &[Url], next: &Url) -> Result<(), String> {
    let from_tls = previous.iter().any(|url| url.scheme() == "https");
    if previous.len() > MAX_REDIRECTS {
        Err(format!("it was sent elsewhere more than {MAX_REDIRECTS} times"))
    } else if !is_private(next) || (from_tls && next.scheme() != "https") {
        Err("it was sent to an address without TLS".to_owned())
    } else {
        Ok(())
    }
}

/// The bytes of an answer.
struct Body<'a> {
    runtime: &'a Runtime,
    response: Response,
    left: hyper::body::Bytes,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            let chunk = self.runtime.block_on(async { self.response.chunk().await });
            match chunk.map_err(|error| io::Error::other(format!("{:#}", plain(error))))? {
                Some(chunk) => self.left = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.left.len());
        buffer[..count].copy_from_slice(&self.left.split_to(count));
        Ok(count)
    }
}

/// Fails at the end unless the bytes have the expected digest.
struct Verified<'a, R> {
    body: R,
    expected: BlobId,
    hasher: Sha256,
    size: u64,
    progress: &'a dyn Fn(u64),
}

impl<R: Read> Read for Verified<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            let found = BlobId::of_digest(self.hasher.clone().finalize().into());
            if found != self.expected {
                return Err(io::Error::other(format!(
                    "its SHA-256 is {found}, and the folder demands {}",
                    self.expected
                )));
            }
        }
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        if self.size > MAX_SIZE {
            return Err(io::Error::other(format!("it has more than {MAX_SIZE} bytes")));
        }
        (self.progress)(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_leaves_tls() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let (tls, plain) = (url("https://a/x"), url("http://127.0.0.1/x"));
        assert!(redirects(std::slice::from_ref(&tls), &url("https://b/y")).is_ok());
        assert!(redirects(std::slice::from_ref(&plain), &url("http://localhost/y")).is_ok());
        assert!(redirects(std::slice::from_ref(&plain), &tls).is_ok());
        for (from, to) in [(&tls, "http://b/y"), (&tls, "http://127.0.0.1/"), (&plain, "http://b/")]
        {
            let why = redirects(std::slice::from_ref(from), &url(to)).unwrap_err();
            assert!(why.contains("without TLS"), "{why}");
        }
        let circle = vec![tls.clone(); MAX_REDIRECTS + 1];
        assert!(redirects(&circle[..MAX_REDIRECTS], &tls).is_ok());
        assert!(redirects(&circle, &tls).unwrap_err().contains("more than 5 times"));
    }

    #[test]
    fn other_bytes_than_expected_are_an_error_at_the_end() {
        let read = |bytes: &[u8], expected: &[u8]| {
            let expected = BlobId::of_digest(Sha256::digest(expected).into());
            let hasher = Sha256::new();
            let mut body = Verified { body: bytes, expected, hasher, size: 0, progress: &|_| () };
            let mut found = Vec::new();
            body.read_to_end(&mut found).map(|_| found)
        };
        assert_eq!(read(b"kernel", b"kernel").unwrap(), b"kernel");
        let error = read(b"kernel", b"another").unwrap_err().to_string();
        assert!(error.contains("its SHA-256 is") && error.contains("demands"), "{error}");
    }
}
