//! Which generation a gateway gets, and how a booted system says that it works.
//! Pure state machines: no files, no clock.

mod assessment;
pub mod rollout;
mod template;
mod token;

pub use assessment::Decision;
pub use assessment::Policy;
pub use assessment::Reason;
pub use assessment::decide;
pub use template::NAMES as TEMPLATE_NAMES;
pub use template::render;
pub use template::unknown_names;
pub use token::AckTokens;
pub use token::Claim;
pub use token::KEY_LEN;
