//! One HTTP request that begins or continues a partial file.

use std::io::Read;
use std::time::Duration;

use indicatif::ProgressBar;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body};

use super::partial::{Origin, Partial};

/// How long to wait and how often to try.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// For a connection, and for the head of an answer.
    pub(super) answer: Duration,
    /// Without a single byte.
    pub(super) stall: Duration,
    /// Between two attempts, longer each time.
    pub(super) pause: Duration,
    /// Attempts at one mirror that do not bring the file further than any before.
    pub(super) fruitless_attempts: u32,
}

impl Limits {
    pub(super) fn for_the_internet() -> Self {
        Self {
            answer: Duration::from_secs(20),
            stall: Duration::from_secs(20),
            pause: Duration::from_secs(1),
            fruitless_attempts: 3,
        }
    }
}

/// Why an attempt did not bring the whole file.
#[derive(Debug)]
pub(super) enum Failure {
    /// This mirror will not serve the file; another one may.
    Mirror(String),
    /// The same request may well succeed the next time.
    Passing(String),
    /// No mirror can help: the disk.
    Local(anyhow::Error),
}

/// An agent with these limits; statuses are ours to judge.
pub(super) fn agent(limits: &Limits, proxy_from_environment: bool) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(limits.answer))
        .timeout_connect(Some(limits.answer))
        .timeout_recv_response(Some(limits.answer))
        .timeout_per_read(Some(limits.stall))
        // The files are gzip themselves: nothing may be unpacked, or packed again, on the way.
        .accept_encoding("identity")
        .user_agent(concat!("xtask/", env!("CARGO_PKG_VERSION")));
    if proxy_from_environment { config.build() } else { config.proxy(None).build() }.into()
}

/// Asks `url` for the file, or for what is missing of it, and appends what comes.
///
/// `Ok` says that the answer ended where the server said that it would, not that the bytes are right.
pub(super) fn attempt(
    agent: &Agent,
    url: &str,
    partial: &mut Partial,
    most_bytes: u64,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let mut request = agent.get(url);
    let resumes = partial.validator_for(url).map(str::to_owned);
    if let Some(validator) = &resumes {
        request = request
            .header(header::RANGE, format!("bytes={}-", partial.len()))
            .header(header::IF_RANGE, validator);
    }
    let answer = request.call().map_err(|error| no_answer(&error))?;
    let headers = answer.headers();

    let status = answer.status();
    let total = match status {
        StatusCode::OK => {
            let origin = Origin { url: url.to_owned(), validator: validator(headers) };
            partial.restart(origin).map_err(Failure::Local)?;
            content_length(headers)
        }
        StatusCode::PARTIAL_CONTENT if resumes.is_some() => match content_range(headers) {
            Some((start, total)) if start == partial.len() => total,
            _ => {
                partial.discard().map_err(Failure::Local)?;
                return Err(Failure::Passing(
                    "it answered with another part than the one asked for".to_owned(),
                ));
            }
        },
        StatusCode::RANGE_NOT_SATISFIABLE if resumes.is_some() => {
            // Either all of it is here already, which the checksum decides, or the rest is of another file.
            if unsatisfied_total(headers) == Some(partial.len()) {
                return Ok(());
            }
            partial.discard().map_err(Failure::Local)?;
            return Err(Failure::Passing("it has no more of the file that was begun".to_owned()));
        }
        status if status.is_server_error() || is_try_later(status) => {
            return Err(Failure::Passing(format!("it answered {status}")));
        }
        status => return Err(Failure::Mirror(format!("it answered {status}"))),
    };
    if let Some(total) = total.filter(|&total| total > most_bytes) {
        return Err(Failure::Mirror(format!(
            "it offers {total} bytes, more than the file can have"
        )));
    }
    receive(answer, partial, total, most_bytes, bar)
}

/// Appends the body.
fn receive(
    answer: Response<Body>,
    partial: &mut Partial,
    total: Option<u64>,
    most_bytes: u64,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    if let Some(total) = total {
        bar.set_length(total);
    }
    bar.set_position(partial.len());
    bar.reset_eta();
    let mut body = answer.into_body().into_reader();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n_bytes = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n_bytes) => n_bytes,
            Err(error) => {
                return Err(Failure::Passing(format!(
                    "the connection broke after {} bytes: {error}",
                    partial.len()
                )));
            }
        };
        if partial.len() + n_bytes as u64 > most_bytes {
            partial.discard().map_err(Failure::Local)?;
            return Err(Failure::Mirror(format!(
                "it sent more than {most_bytes} bytes, more than the file can have"
            )));
        }
        partial.append(&buffer[..n_bytes]).map_err(Failure::Local)?;
        bar.set_position(partial.len());
    }
    match total {
        Some(total) if partial.len() < total => Err(Failure::Passing(format!(
            "the connection ended after {} of {total} bytes",
            partial.len()
        ))),
        _ => Ok(()),
    }
}

fn no_answer(error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Failure::Mirror(format!("no usable address: {error}"))
        }
        _ => Failure::Passing(format!("no answer: {error}")),
    }
}

fn is_try_later(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY
    )
}

/// What `If-Range` may carry: a strong `ETag`, else the date (RFC 9110, section 13.1.5).
fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    text(header::ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(header::LAST_MODIFIED))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Start and, where known, the whole file's length: `bytes 5-9/10` or `bytes 5-9/*`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = content_range_text(headers)?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// The whole file's length in an answer of 416: `bytes */10`.
fn unsatisfied_total(headers: &HeaderMap) -> Option<u64> {
    content_range_text(headers)?.strip_prefix("*/")?.parse().ok()
}

fn content_range_text(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), header::HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_weak_etag_does_not_validate_a_range_but_the_date_does() {
        let weak = (header::ETAG, "W/\"1\"");
        let date = (header::LAST_MODIFIED, "Mon, 01 Jan 2024 00:00:00 GMT");
        assert_eq!(
            validator(&headers(&[(header::ETAG, "\"1\""), date.clone()])).as_deref(),
            Some("\"1\"")
        );
        assert_eq!(validator(&headers(&[weak.clone(), date.clone()])).as_deref(), Some(date.1));
        assert_eq!(validator(&headers(&[weak])), None);
    }

    #[test]
    fn content_ranges_are_read_and_nonsense_is_none() {
        let range = |text| content_range(&headers(&[(header::CONTENT_RANGE, text)]));
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        for nonsense in ["", "bytes", "bytes x-9/10", "lines 5-9/10", "bytes */10"] {
            assert_eq!(range(nonsense), None, "{nonsense}");
        }
        assert_eq!(unsatisfied_total(&headers(&[(header::CONTENT_RANGE, "bytes */10")])), Some(10));
    }
}
