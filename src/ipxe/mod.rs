//! iPXE as farmgate needs it: its binaries given another root of trust, and
//! the script and the slot that its media carry. Pure: bytes in, values out.

mod bcj;
mod binary;
pub mod contents;
pub mod media;
mod packed;
mod reroot;
pub mod script;
pub mod slot;

pub use binary::Binary;
pub use binary::Error as BinaryError;
pub use binary::Kind;
pub use binary::STOCK_ROOT;
pub use packed::Error as PackedError;
pub use reroot::Error as RerootError;
pub use reroot::reroot;
