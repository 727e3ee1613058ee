//! The boot host, as a boot sees it: acknowledges, reports, tells the time. Network.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::net::UdpSocket;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use reqwest::StatusCode;
use reqwest::Url;
use reqwest::header::DATE;
use rustls::pki_types::CertificateDer;

use super::http::Answer;
use super::http::Client;
use super::http::Trust;
use super::secrets::BootHost;
use crate::profile::report::Report;

const CONNECT: Duration = Duration::from_secs(5);
/// Time that an answer without an image may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The boot host, and how it is asked.
#[derive(Clone)]
pub struct Host {
    boot: BootHost,
    /// For images: large answers, which take their time.
    pub client: Client,
    quick: Client,
}

/// The fate of an acknowledgement or a report.
#[derive(Debug)]
pub enum Told {
    Arrived,
    /// The boot host does not want it, now or ever.
    Refused(StatusCode),
    /// Another try may help.
    Away(io::Error),
}

impl Host {
    pub fn new(boot: BootHost) -> io::Result<Self> {
        let ca = CertificateDer::from(boot.ca.clone());
        let client = Client::new(Trust::Only(vec![ca]), 0)?;
        let quick = client.clone().within(PATIENCE);
        Ok(Self { boot, client, quick })
    }

    pub fn url(&self) -> &str {
        &self.boot.url
    }

    pub fn token(&self) -> &str {
        &self.boot.token
    }

    /// Its time in seconds since 1970, from an answer whose certificate may be of another time.
    pub fn date(&self) -> io::Result<u64> {
        let ca = CertificateDer::from(self.boot.ca.clone());
        let client = Client::new(Trust::OnlyAtAnyTime(vec![ca]), 0)?.within(PATIENCE);
        // Whatever the answer is, it has a date.
        let answer = client.get(&format!("{}/", self.boot.url), &[])?;
        let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
        let date = date.ok_or_else(|| io::Error::other("the answer has no date"))?;
        let date = httpdate::parse_http_date(date).map_err(io::Error::other)?;
        date.duration_since(UNIX_EPOCH).map(|date| date.as_secs()).map_err(io::Error::other)
    }

    pub fn acknowledge(&self) -> Told {
        let url = format!("{}/boot/ack/{}", self.boot.url, self.boot.token);
        told(self.quick.post(&url, &[], Vec::new()))
    }

    pub fn report(&self, report: &Report) -> Told {
        let url = format!("{}/boot/report/{}", self.boot.url, self.boot.token);
        let Ok(body) = serde_json::to_vec(report) else {
            return Told::Refused(StatusCode::UNPROCESSABLE_ENTITY);
        };
        told(self.quick.post(&url, &[("content-type", "application/json")], body))
    }

    /// The address of this machine that reaches it, once it can be reached.
    pub fn reach(&self) -> io::Result<IpAddr> {
        self.own_address(|address| TcpStream::connect_timeout(&address, CONNECT)?.local_addr())
    }

    /// The address of this machine that would reach it.
    pub fn route(&self) -> io::Result<IpAddr> {
        self.own_address(|address| udp_to(address)?.local_addr())
    }

    /// The first that `of` gives for one of its addresses.
    fn own_address(&self, of: impl Fn(SocketAddr) -> io::Result<SocketAddr>) -> io::Result<IpAddr> {
        let mut last = io::Error::other("its name has no address");
        for address in self.addresses()? {
            match of(address) {
                Ok(own) => return Ok(own.ip()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let url = Url::parse(&self.boot.url).map_err(io::Error::other)?;
        let host = url.host_str().ok_or_else(|| io::Error::other("its address has no host"))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok((host, port).to_socket_addrs()?.collect())
    }
}

/// A socket that speaks with this address alone. Nothing is sent for that.
pub fn udp_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    Ok(socket)
}

fn told(answer: io::Result<Answer>) -> Told {
    let status = match answer {
        Ok(answer) => answer.status,
        Err(error) => return Told::Away(error),
    };
    match status {
        status if status.is_success() => Told::Arrived,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Told::Away(io::Error::other(format!("the answer is {status}")))
        }
        status if status.is_client_error() => Told::Refused(status),
        status => Told::Away(io::Error::other(format!("the answer is {status}"))),
    }
}
