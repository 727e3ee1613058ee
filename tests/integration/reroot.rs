//! Re-rooting Debian's iPXE binaries.
fn dummy() {}
