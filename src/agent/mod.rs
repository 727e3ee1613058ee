//! What runs on a gateway after the kernel: the program farmgate-agent. It makes the gateway's
//! network, clock and drive ready, and starts the containers of its generation.

pub mod http;
pub mod images;
pub mod volumes;
