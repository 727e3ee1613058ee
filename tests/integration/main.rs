//! All integration tests, one module per topic.

mod iso;
mod reroot;
