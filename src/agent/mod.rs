//! The program farmgate-agent, which runs on a gateway after the kernel. It makes the gateway's
//! network, clock and drive ready, and starts the containers of its generation.
//!
//! Process 1 is [`init`]; it starts [`boot`] and restarts the machine when that has ended.

use std::env;
use std::process;

pub mod boot;
pub mod brought;
pub mod clock;
pub mod cmdline;
pub mod console;
pub mod container;
pub mod drive;
pub mod ending;
pub mod host;
pub mod http;
pub mod images;
pub mod init;
pub mod modules;
pub mod network;
pub mod progress;
pub mod pull;
pub mod report;
pub mod secrets;
pub mod volumes;

/// The program.
pub fn main() {
    if process::id() == 1 {
        init::run();
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [init::BOOT] => boot::run(),
        [init::CRASH, what] => boot::report_crash(what),
        _ => console::say("this is process 1 of a gateway, and nothing to be started by hand"),
    }
}
