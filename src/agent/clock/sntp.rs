//! One question to a time server, RFC 4330. Pure but for [`ask`], which uses the network.

use std::io;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::time::Duration;

use crate::agent::host::udp_to;

const PORT: u16 = 123;
const LENGTH: usize = 48;
const PATIENCE: Duration = Duration::from_secs(3);
const TRIES: usize = 3;
/// Seconds between 1900 and 1970.
const EPOCHS: u64 = 2_208_988_800;
/// After so many seconds, in 2036, the count begins again.
const ERA: u64 = 1 << 32;

/// Seconds since 1970, as the server has them.
pub(super) fn ask(server: &str) -> io::Result<u64> {
    let mut last = io::Error::other("it has no address");
    for address in (server, PORT).to_socket_addrs()?.take(TRIES) {
        match ask_at(address) {
            Ok(time) => return Ok(time),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask_at(address: SocketAddr) -> io::Result<u64> {
    let socket = udp_to(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut last = io::Error::other("it does not know the time");
    for _ in 0..TRIES {
        let mut cookie = [0; 8];
        getrandom::fill(&mut cookie).map_err(io::Error::other)?;
        let mut answer = [0; LENGTH];
        let asked = socket.send(&question(cookie)).and_then(|_| socket.recv(&mut answer));
        match asked.map(|length| time(&answer[..length], cookie)) {
            Ok(Some(time)) => return Ok(time),
            Ok(None) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Version 4, client. The server sends `cookie` back, so nobody else can answer.
fn question(cookie: [u8; 8]) -> [u8; LENGTH] {
    let mut question = [0; LENGTH];
    question[0] = 4 << 3 | 3;
    question[40..].copy_from_slice(&cookie);
    question
}

fn time(answer: &[u8], cookie: [u8; 8]) -> Option<u64> {
    let answer: &[u8; LENGTH] = answer.try_into().ok()?;
    let (leap, mode, stratum) = (answer[0] >> 6, answer[0] & 7, answer[1]);
    let synchronised = leap != 3 && mode == 4 && (1..16).contains(&stratum);
    if !synchronised || answer[24..32] != cookie {
        return None;
    }
    let seconds = u64::from(u32::from_be_bytes(answer[40..44].try_into().ok()?));
    // A small count belongs to the era that begins in 2036.
    let seconds = if seconds < EPOCHS { seconds + ERA } else { seconds };
    (seconds != ERA).then(|| seconds - EPOCHS)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use proptest::prelude::*;

    use super::*;

    const COOKIE: [u8; 8] = *b"cookie!!";

    fn answer(first: u8, stratum: u8, seconds: u32) -> [u8; LENGTH] {
        let mut answer = [0; LENGTH];
        (answer[0], answer[1]) = (first, stratum);
        answer[24..32].copy_from_slice(&COOKIE);
        answer[40..44].copy_from_slice(&seconds.to_be_bytes());
        answer
    }

    #[test]
    fn the_time_is_read_on_both_sides_of_2036() {
        assert_eq!(time(&answer(0x24, 2, 3_973_536_000), COOKIE), Some(1_764_547_200));
        assert_eq!(time(&answer(0x24, 1, 1), COOKIE), Some(2_085_978_497));
    }

    #[test]
    fn a_server_that_does_not_know_the_time_or_was_not_asked_is_not_believed() {
        let good = answer(0x24, 2, 3_973_536_000);
        assert!(time(&good, COOKIE).is_some());
        assert_eq!(time(&good, *b"other..."), None);
        assert_eq!(time(&good[..47], COOKIE), None);
        for (first, stratum) in [(0xe4, 2), (0x23, 2), (0x24, 0), (0x24, 16)] {
            assert_eq!(time(&answer(first, stratum, 3_973_536_000), COOKIE), None);
        }
        assert_eq!(time(&answer(0x24, 2, 0), COOKIE), None);
    }

    #[test]
    fn the_server_at_an_address_is_asked_again_until_it_knows_the_time() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let asked = std::thread::spawn(move || ask_at(address));
        for stratum in [0, 1] {
            let mut question = [0; LENGTH];
            let (_, from) = server.recv_from(&mut question).unwrap();
            let mut answer = answer(0x24, stratum, 3_973_536_000);
            answer[24..32].copy_from_slice(&question[40..]);
            server.send_to(&answer, from).unwrap();
        }
        assert_eq!(asked.join().unwrap().unwrap(), 1_764_547_200);
    }

    #[test]
    fn the_question_is_one_of_a_client() {
        let question = question(COOKIE);
        assert_eq!((question[0], &question[40..]), (0x23, &COOKIE[..]));
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in prop::collection::vec(any::<u8>(), 0..60)) {
            time(&answer, COOKIE);
        }
    }
}
