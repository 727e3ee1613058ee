//! iPXE: re-rooting its binaries, checking boot scripts, and the script and slot on media. Pure:
//! bytes in, values out.

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
