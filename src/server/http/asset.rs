//! Answers that carry a file: ranges and conditional requests of RFC 9110.

use std::fs::File;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use headers::ETag;
use headers::HeaderMapExt;
use headers::IfNoneMatch;
use headers::IfRange;

use super::error::internal;
use super::file_body::FileBody;
pub(super) use super::file_body::Recording;
use crate::server::app::Error;
use crate::server::edge::congestion::Congestion;

/// The part of a file that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    /// From the first position to the second, exclusive.
    Bytes(u64, u64),
    /// The client's copy is current.
    NotModified,
    /// The range lies outside of the file.
    Unsatisfiable,
}

/// Reads `If-None-Match`, `Range` and `If-Range` (RFC 9110, sections 13 and 14). A request for
/// several ranges gets the whole file, as section 14.2 allows.
fn wanted(request: &HeaderMap, etag: &ETag, size: u64) -> Part {
    if let Some(condition) = request.typed_get::<IfNoneMatch>()
        && !condition.precondition_passes(etag)
    {
        return Part::NotModified;
    }
    if request.typed_get::<IfRange>().is_some_and(|c| c.is_modified(Some(etag), None)) {
        return Part::Whole;
    }
    let mut values = request.get_all(header::RANGE).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(text)), None) => single_range(text, size).unwrap_or(Part::Whole),
        _ => Part::Whole,
    }
}

/// `None` for anything but one valid `bytes` range: such a header is ignored.
fn single_range(text: &str, size: u64) -> Option<Part> {
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        // A number too large for u64 lies beyond every file.
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (start, end) = match (first, last) {
        ("", "") => return None,
        ("", suffix) => (size.saturating_sub(number(suffix)?), size),
        (first, "") => (number(first)?, size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            (first, last.saturating_add(1).min(size))
        }
    };
    Some(if start < end { Part::Bytes(start, end) } else { Part::Unsatisfiable })
}

/// Body of an answer.
pub(super) enum Body {
    /// In memory.
    Bytes(Vec<u8>),
    /// On disk.
    File {
        file: File,
        /// In bytes.
        size: u64,
        /// Records the outcome of the transfer.
        recording: Recording,
        /// Of the connection that it is sent on.
        congestion: Congestion,
    },
}

impl Body {
    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { size, .. } => *size,
        }
    }

    fn part(self, start: u64, end: u64) -> axum::body::Body {
        match self {
            Self::Bytes(bytes) => {
                let range = start as usize..end as usize;
                Bytes::from(bytes).slice(range).into()
            }
            Self::File { file, recording, congestion, .. } => {
                axum::body::Body::new(FileBody::new(file, start..end, recording, congestion))
            }
        }
    }
}

/// Answers a request with `body`, whose strong entity tag is the hex text `tag`.
pub(super) fn respond(
    request: &HeaderMap,
    tag: &str,
    content_type: &'static str,
    body: Body,
) -> Result<Response, Error> {
    let size = body.size();
    let (etag, value) = etag(tag)?;
    let part = wanted(request, &etag, size);
    let body = match part {
        Part::Whole => body.part(0, size),
        Part::Bytes(start, end) => body.part(start, end),
        Part::NotModified | Part::Unsatisfiable => axum::body::Body::empty(),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let (status, length) = match part {
        Part::Whole => (StatusCode::OK, Some(size)),
        Part::Bytes(start, end) => {
            let range = format!("bytes {start}-{}/{size}", end - 1);
            headers.insert(header::CONTENT_RANGE, header_value(range)?);
            (StatusCode::PARTIAL_CONTENT, Some(end - start))
        }
        Part::NotModified => (StatusCode::NOT_MODIFIED, None),
        Part::Unsatisfiable => {
            headers.insert(header::CONTENT_RANGE, header_value(format!("bytes */{size}"))?);
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(0))
        }
    };
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    *response.status_mut() = status;
    Ok(response)
}

/// Makes nginx send the file at the internal `location`. nginx handles ranges. Conditional requests
/// are decided here, since nginx learns the tag too late (`ngx_http_not_modified_filter_module`
/// runs before the tag is set).
pub(super) fn redirect_to_nginx(
    request: &HeaderMap,
    tag: &str,
    content_type: &'static str,
    location: String,
) -> Result<Response, Error> {
    let (etag, value) = etag(tag)?;
    let known = request
        .typed_get::<IfNoneMatch>()
        .is_some_and(|condition| !condition.precondition_passes(&etag));
    let mut response =
        if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK }.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ETAG, value);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if !known {
        headers.insert("x-accel-redirect", header_value(location)?);
    }
    Ok(response)
}

fn etag(tag: &str) -> Result<(ETag, HeaderValue), Error> {
    let quoted = format!("\"{tag}\"");
    let etag = quoted.parse().map_err(|_| Error::Internal(anyhow::anyhow!("bad entity tag")))?;
    Ok((etag, header_value(quoted)?))
}

fn header_value(text: String) -> Result<HeaderValue, Error> {
    HeaderValue::try_from(text).map_err(internal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(headers: &[(&'static str, &str)]) -> Part {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        wanted(&map, &"\"aa\"".parse().unwrap(), 100)
    }

    #[test]
    fn one_range_is_honoured() {
        for (range, part) in [
            ("bytes=0-0", Part::Bytes(0, 1)),
            ("bytes=10-19", Part::Bytes(10, 20)),
            ("bytes=90-", Part::Bytes(90, 100)),
            ("bytes=-10", Part::Bytes(90, 100)),
            ("bytes=-1000", Part::Bytes(0, 100)),
            ("bytes=50-1000", Part::Bytes(50, 100)),
            ("bytes=100-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=18446744073709551616-", Part::Unsatisfiable),
        ] {
            assert_eq!(ask(&[("range", range)]), part, "{range}");
        }
    }

    #[test]
    fn anything_else_gets_the_whole() {
        for range in
            ["bytes=0-1,5-6", "bytes=5-4", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=+1-2"]
        {
            assert_eq!(ask(&[("range", range)]), Part::Whole, "{range}");
        }
        assert_eq!(ask(&[("range", "bytes=0-1"), ("range", "bytes=2-3")]), Part::Whole);
        assert_eq!(ask(&[]), Part::Whole);
    }

    #[test]
    fn conditions_decide_before_ranges() {
        let range = ("range", "bytes=0-0");
        assert_eq!(ask(&[("if-none-match", "\"aa\""), range]), Part::NotModified);
        assert_eq!(ask(&[("if-none-match", "W/\"aa\"")]), Part::NotModified);
        assert_eq!(ask(&[("if-none-match", "*")]), Part::NotModified);
        assert_eq!(ask(&[("if-none-match", "\"bb\""), range]), Part::Bytes(0, 1));
        assert_eq!(ask(&[("if-range", "\"aa\""), range]), Part::Bytes(0, 1));
        assert_eq!(ask(&[("if-range", "\"bb\""), range]), Part::Whole);
        assert_eq!(ask(&[("if-range", "W/\"aa\""), range]), Part::Whole);
    }

    proptest! {
        #[test]
        fn a_range_never_leaves_the_file(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", size in 0u64..1000) {
            if let Some(Part::Bytes(start, end)) = single_range(&text, size) {
                prop_assert!(start < end && end <= size);
            }
        }
    }
}
